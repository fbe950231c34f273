"""Where the time of a request went."""

import pytest

from spinert.runtime.kserve.statistics import split_from_receipt
from spinert.runtime.verdict import Receipt, Stage


def receipt(total_s, **stages):
    return Receipt(
        stages=tuple(
            Stage(name=name.replace("__", "."), start_s=start, duration_s=duration)
            for name, (start, duration) in stages.items()
        ),
        batches=(),
        total_s=total_s,
    )


def parts(split):
    return split.queue_s, split.input_s, split.infer_s, split.output_s


def test_networks_that_run_at_once_count_once():
    split = split_from_receipt(
        receipt(
            10.0,
            queue__prepare=(0.0, 1.0),
            decode=(1.0, 0.5),
            prepare=(1.5, 0.5),
            queue__classifier=(2.0, 1.0),
            classifier=(3.0, 2.0),
            queue__detector=(2.0, 2.0),
            detector=(4.0, 4.0),
            decide=(9.0, 1.0),
        )
    )
    # 3 to 8: the classifier until 5, the detector from 4.
    assert parts(split) == pytest.approx((2.0, 1.0, 5.0, 2.0))


def test_networks_that_run_one_after_the_other_add_up():
    split = split_from_receipt(
        receipt(10.0, detector=(1.0, 2.0), recompute__detector=(5.0, 3.0))
    )
    assert parts(split) == pytest.approx((3.0, 0.0, 5.0, 2.0))


def test_without_a_network_all_is_input_and_waiting():
    split = split_from_receipt(receipt(3.0, decode=(1.0, 0.5), prepare=(2.0, 0.5)))
    assert parts(split) == pytest.approx((2.0, 1.0, 0.0, 0.0))
