"""What a plan costs, at the rates of a JSON file: each cloud and each contract has its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from cache_schema.documents import Document, parse, problems_of
from cache_schema.errors import UsageError, bullet_list
from pipeline.precompute.plan_report import PlanReport

GB = 1e9
MAX_RATES_BYTES = 1 << 16
EXAMPLE = (
    '{"currency": "USD", "process_hour": 1.0, "storage_gb_month": 0.023, "write_1000": 0.005, '
    '"read_1000": 0.0004, "read_gb": 0.0}'
)

Price = Annotated[float, Field(ge=0, le=1e6)]


class Rates(Document):
    """Prices in one currency; what is left out costs nothing.

    Attributes
    ----------
    currency : str
    process_hour : float
        Of one process, with its share of a machine.
    storage_gb_month : float
        Of 10⁹ bytes.
    write_1000, read_1000 : float
        Of a thousand requests that create an object, and that read one.
    read_gb : float
        Of 10⁹ bytes that leave the store.
    """

    currency: Annotated[str, Field(min_length=1, max_length=12)]
    process_hour: Price = 0.0
    storage_gb_month: Price = 0.0
    write_1000: Price = 0.0
    read_1000: Price = 0.0
    read_gb: Price = 0.0


def read_rates(path: Path) -> Rates:
    """Read a file of rates.

    Raises
    ------
    UsageError
        With every problem, and an example.
    """
    problems = ["there is no such file"]
    content = b""
    if path.is_file():
        with path.open("rb") as file:
            content = file.read(MAX_RATES_BYTES + 1)
        too_long = len(content) > MAX_RATES_BYTES
        problems = (
            [f"more than {MAX_RATES_BYTES} bytes"] if too_long else problems_of(Rates, content)
        )
    if problems:
        raise UsageError(
            f"--rates {path} is no file of rates\n{bullet_list(problems)}\n"
            f"Expected, for example: {EXAMPLE}",
            kind="options",
        )
    return parse(Rates, content, str(path))


def prices(report: PlanReport, rates: Rates) -> list[str]:
    """Price computing and writing, a month of keeping, and an epoch of reading, a line each."""
    compute = report.estimated_s / 3600 * rates.process_hour
    write = report.objects / 1000 * rates.write_1000
    month = report.total_bytes / GB * rates.storage_gb_month
    epoch = report.epoch_objects / 1000 * rates.read_1000
    epoch += report.epoch_bytes / GB * rates.read_gb
    costs = {
        "to compute": compute,
        "to write": write,
        "a month to keep": month,
        "an epoch to read, of every signal": epoch,
    }
    return [f"{cost:,.2f} {rates.currency} {what}" for what, cost in costs.items()]
