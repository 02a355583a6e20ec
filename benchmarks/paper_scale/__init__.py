"""The pipeline's run on a machine with a GPU, no network and little time at once.

Four commands, in this order; ``README.md`` beside them says what each needs and leaves:

    python -m benchmarks.paper_scale.pack       # here: photographs and pairs, small enough to carry
    python -m benchmarks.paper_scale.run        # there: the stages, in slices that go on
    python -m benchmarks.paper_scale.bring      # there: tables, logs and weights, in small files
    python -m benchmarks.paper_scale.collect    # here: the report
"""
