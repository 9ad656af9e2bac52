"""GPU-hours by a dated, sourced book; energy and carbon as lines of their own."""

from datetime import date
from decimal import Decimal

import pytest

from workbench.analyses.gpu_prices import carbon, energy_cost, gpu_book, gpu_key, gpu_price, hourly
from workbench.errors import WorkbenchError

OURS = {"gpu_model": "H100 SXM 80GB", "provider": "AWS", "term": "on-demand", "usd_per_hour": "5", "source": "contract"}


def test_every_price_of_the_package_has_a_day_and_a_source():
    book = gpu_book(today=date(2026, 11, 24))
    assert len(book) > 20
    assert all(one.source and one.usd_per_hour > 0 and one.as_of <= date(2026, 11, 24) for one in book)
    assert len({(one.gpu_model, one.provider, one.term, one.as_of) for one in book}) == len(book)
    assert all(gpu_key(one.gpu_model)[0] == one.gpu_model.split()[0] for one in book)


@pytest.mark.parametrize("name", ["NVIDIA H100 80GB HBM3", "H100 SXM", "h100-sxm5-80gb", "NVIDIA-H100-80GB-HBM3"])
def test_usual_names_find_their_gpu(name):
    assert gpu_price(name, "aws").usd_per_hour == Decimal("6.88")


def test_the_users_book_comes_first_and_prices_are_those_of_the_day(tmp_path):
    (tmp_path / "own.csv").write_text(
        "gpu_model,provider,term,usd_per_hour,as_of,source\n"
        "H100 SXM 80GB,AWS,on-demand,5,2026-01-01,contract\n"
        "H100 SXM 80GB,AWS,on-demand,4,2026-06-01,contract\n"
    )
    book = gpu_book(tmp_path / "own.csv", today=date(2026, 12, 1))
    assert [
        gpu_price("H100", "AWS", at=day, book=book).usd_per_hour for day in (date(2026, 5, 31), date(2026, 6, 1))
    ] == [5, 4]
    oldest = gpu_price("H100", "AWS", at=date(2025, 1, 1), book=book)
    assert (oldest.usd_per_hour, oldest.as_of) == (5, date(2026, 1, 1))
    assert oldest.amber
    assert "older than 90 days" in oldest.say()
    assert hourly(["H100 SXM"], "AWS", book=book) == {"H100 SXM": 4_000_000}


def test_an_unknown_or_ambiguous_gpu_is_an_error_with_choices():
    with pytest.raises(WorkbenchError, match="no price is known of the GPU 'H900'"):
        gpu_price("H900")
    with pytest.raises(WorkbenchError, match="several prices: name the provider"):
        gpu_price("H100 SXM")
    with pytest.raises(WorkbenchError, match="no price of AWS for 'spot': there are AWS, on-demand"):
        gpu_price("H100 SXM", "AWS", "spot")
    with pytest.raises(WorkbenchError, match="line 1 has no as_of"):
        gpu_book([OURS])
    with pytest.raises(WorkbenchError, match="usd_per_hour is '-5'; wanted a number from 0"):
        gpu_book([OURS | {"as_of": "2026-01-01", "usd_per_hour": "-5"}])


def test_energy_and_carbon():
    assert energy_cost(1_000, "0.12", "1.3") == 156 * 10**12
    assert carbon(1_000, 380, "1.3", 80) == (Decimal(494), 39_520_000_000_000)
    assert carbon(5, 0)[0] == 0
    with pytest.raises(WorkbenchError, match="the PUE is 0.9; wanted 1 or more"):
        energy_cost(1, 1, 0.9)
    with pytest.raises(WorkbenchError, match="kWh is '-1'"):
        energy_cost(-1, 1)
