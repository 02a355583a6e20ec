import re

import torch

from benchmarks.network import SETTINGS, Setting, UsualWay, main, prepare
from benchmarks.network import arguments as parse

TINY = ["--width", "4", "--levels", "2", "--size", "16", "--rounds", "1", "--matrix", "32"]


class TestMain:
    """The table, at a size that says nothing about speed."""

    def test_smoke(self, capsys):
        """Every step, setting and network gets a row whose ratios to itself are 1."""
        settings = ["default", "bf16,channels-last"]
        main([*TINY, "--losses", "--settings", *settings])
        lines = [
            line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if "|" in line
        ]
        cells = [[cell.strip() for cell in line] for line in lines[2:]]
        steps = ["inference", "training", "training with losses"]
        networks = ["usual way", "plain", "ours"]
        wanted = [[s, n, how] for s in steps for how in settings for n in networks]
        assert [line[:3] for line in cells] == wanted
        assert all(line[5] == "1.00" for line in cells if line[1:3] == ["usual way", "default"])
        assert all(line[6] == "1.00" for line in cells if line[1] == "plain")
        assert all(re.fullmatch(r"\d+\.\d", line[3]) for line in cells)

    def test_operations(self):
        """The usual way costs twice the operations of plain convolutions, ours fewer than they."""
        trials = prepare(parse(["--width", "4", "--levels", "3", "--size", "128"])).trials(
            [Setting("default")]
        )
        usual, plain, ours = (trial.flops for trial in trials if trial.step == "inference")
        assert usual == 2 * plain
        assert ours < 0.8 * plain


class TestUsualWay:
    """The usual way is what is measured against, so it must be the same network."""

    def test_values(self):
        """It gives the network's own output."""
        bench = prepare(parse(TINY))
        bench.net.eval()
        torch.testing.assert_close(
            UsualWay(bench.net)(bench.image, bench.mask),
            bench.net(bench.image, bench.mask),
            rtol=1e-4,
            atol=1e-5,
        )


def test_settings_have_distinct_names():
    """No setting hides another."""
    assert len(SETTINGS) == len(
        {(s.bf16, s.channels_last, s.compile_mode) for s in SETTINGS.values()}
    )
