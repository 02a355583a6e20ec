import argparse
import os
import re
import subprocess

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import step_cost
from benchmarks.network import CASES, OPERATIONS, SETTINGS, Case, compile_ahead, main, prepare
from benchmarks.network import NETWORKS as WAYS
from benchmarks.network import arguments as parse
from benchmarks.record import read_record
from benchmarks.step_cost import NoData, counted, full_step
from benchmarks.ways import UsualWay
from pconv.features import vgg16_features
from pconv.losses import InpaintingLoss
from pconv.unet import PConvUNet

TINY = ["--width", "4", "--levels", "2", "--size", "16", "--rounds", "1", "--matrix", "32"]
NETWORKS = ["usual", "plain", "ours"]
SIZES = (3, 4), (4, 5)  # of two matrices


class TestMain:
    """The table, at a size that says nothing about speed."""

    def test_smoke(self, capsys, tmp_path):
        """Every batch, step and case gets a row whose ratios to itself are 1, and is kept."""
        settings = ["default", "bf16,channels-last"]
        cases = [f"{name}:{setting}" for setting in settings for name in NETWORKS]
        kept = tmp_path / "run.json"
        options = ["--batch", "1", "2", "--steps", "training", "full", "--json", str(kept)]
        main([*TINY, *options, "--cases", *cases])
        record = read_record(kept)
        assert record.markdown() == capsys.readouterr().out.rstrip("\n")
        assert "--json" not in record.command
        assert torch.backends.cpu.get_cpu_capability() in record.machine
        assert f"convolutions {os.environ['ONEDNN_MAX_CPU_ISA']};" in record.machine
        assert len(record.tables) == 2
        wanted = [[s, *case.split(":")] for s in ("training", "full") for case in cases]
        for table in record.tables:
            assert [row[:3] for row in table.rows] == wanted
            for row in table.rows:
                cells = dict(zip(table.header, row, strict=True))
                assert re.fullmatch(r"\d+\.\d", cells["ms"])
                if row[1:3] == ["usual", "default"]:
                    assert cells["÷ usual, default"] == "1.00"
                if row[1] == "plain":
                    assert cells["÷ plain, same setting"] == "1.00"
                if row[2] == "default":
                    assert cells["÷ same network, default"] == "1.00"

    def test_ratio_to_a_row_that_is_not_measured(self, tmp_path):
        """Its cell is empty."""
        kept = tmp_path / "run.json"
        main([*TINY, "--steps", "inference", "--cases", "ours:default", "--json", str(kept)])
        (row,) = read_record(kept).tables[0].rows
        assert row[5:8] == ["", "", "1.00"]

    def test_compiles_ahead(self, monkeypatch, capsys):
        """Each compiled row is first run in a process of its own, which prints no table."""
        started = []
        monkeypatch.setattr(subprocess, "run", lambda command, **_: started.append(command))
        cases = ["ours:compiled", "ours:default", "plain:bf16,compiled"]
        args = parse([*TINY, "--batch", "1", "2", "--steps", "full", "--cases", *cases])
        args.compile_jobs = 2
        compile_ahead(args)
        asked = [parse(command[3:]) for command in started]
        assert sorted((*a.batch, *a.steps, *map(str, a.cases)) for a in asked) == sorted(
            (batch, "full", case) for batch in (1, 2) for case in cases if "compiled" in case
        )
        assert {(a.width, a.levels, a.size, a.rounds) for a in asked} == {(4, 2, 16, 0)}
        main([*TINY, "--rounds", "0", "--cases", "ours:default"])
        assert capsys.readouterr().out == ""

    def test_operations(self):
        """The usual way costs twice the operations of plain convolutions, ours fewer than they."""
        bench = prepare(parse(["--width", "4", "--levels", "3", "--size", "128"]), 2)
        trials = bench.trials(["inference"], [Case.of(f"{name}:default") for name in NETWORKS])
        usual, plain, ours = (trial.flops for trial in trials)
        assert usual == 2 * plain
        assert ours < 0.8 * plain

    def test_operations_of_a_wider_result(self):
        """Products of bfloat16 with a result in float32, which a GPU makes, are counted."""
        a, b = (torch.empty(2, *size, dtype=torch.bfloat16, device="meta") for size in SIZES)
        with FlopCounterMode(display=False, custom_mapping=OPERATIONS) as counter:
            torch.bmm(a, b)
            torch.bmm(a, b, out_dtype=torch.float32)
        assert counter.get_total_flops() == 2 * (2 * 2 * 3 * 4 * 5)

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    def test_cuda(self, tmp_path):
        """The default cases of a GPU run, compiled ones too."""
        kept = tmp_path / "run.json"
        size = ["--width", "8", "--levels", "3", "--size", "64", "--rounds", "1"]
        main([*size, "--device", "cuda", "--steps", "training", "full", "--json", str(kept)])
        assert len(read_record(kept).tables[0].rows) == 2 * len(CASES["cuda"])


class TestCase:
    """``NETWORK:SETTING`` on the command line."""

    def test_defaults_exist(self):
        """Every default case can be read."""
        assert all(Case.of(text) for cases in CASES.values() for text in cases)

    @pytest.mark.parametrize("text", ["ours", "ours:fast", "theirs:default"])
    def test_raises(self, text):
        """Others are refused."""
        with pytest.raises(argparse.ArgumentTypeError, match="wanted NETWORK:SETTING"):
            Case.of(text)


class TestUsualWay:
    """The usual way is what is measured against, so it must be the same network."""

    def test_values(self):
        """It gives the network's own output."""
        bench = prepare(parse(TINY), 2)
        bench.net.eval()
        torch.testing.assert_close(
            UsualWay(bench.net)(bench.image, bench.mask),
            bench.net(bench.image, bench.mask),
            rtol=1e-4,
            atol=1e-5,
        )


class TestCounted:
    """Operations and bytes of a step."""

    def test_values(self):
        """A product moves its factors and its result, a sum too; a view moves nothing."""
        a, b = torch.rand(3, 4), torch.rand(4, 5)
        flops, every, products = counted(lambda: (a @ b).t() + 1)
        moved = 4 * (3 * 4 + 4 * 5 + 3 * 5)
        assert flops == 2 * 3 * 4 * 5
        assert products == moved
        assert every == moved + 4 * 2 * 3 * 5

    @pytest.mark.parametrize("name", NETWORKS)
    def test_no_data(self, name):
        """Fake tensors are counted as real ones that leave no work out: here no mask gets full."""

        def count():
            net = PConvUNet(width=4, levels=2)
            losses = InpaintingLoss(vgg16_features("random"))
            image, mask = torch.rand(2, 3, 32, 32), torch.zeros(2, 1, 32, 32)
            mask[..., 0, 0] = 1
            return counted(full_step(WAYS[name](net), losses, image, mask, bf16=False))

        with NoData():
            fake = count()
        assert fake == count()
        assert min(fake) > 0

    def test_command(self, capsys):
        """Twice the images need twice the operations, and less than twice the bytes."""
        tables = []
        for batch in ("1", "2"):
            options = ["--width", "4", "--levels", "2", "--size", "32", "--batch", batch]
            step_cost.main([*options, "--tflops", "1e-6", "--tbytes", "1e-6"])
            rows = re.findall(r"^\| \w+ \| bf16 \| (.*) \|$", capsys.readouterr().out, re.M)
            tables.append([[float(cell) for cell in row.split("|")[-3:]] for row in rows])
        assert len(tables[0]) == len(NETWORKS)
        for one, two in zip(*tables, strict=True):
            (operations, *moved), (twice_operations, *moved_by_two) = one, two
            assert twice_operations == pytest.approx(2 * operations)
            for some, more in zip(moved, moved_by_two, strict=True):
                assert some < more < 2 * some
            assert moved[0] > moved[1]


def test_settings_have_distinct_names():
    """No setting hides another."""
    assert len(SETTINGS) == len(
        {(s.bf16, s.channels_last, s.compile_mode) for s in SETTINGS.values()}
    )
