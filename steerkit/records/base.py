"""What every record carries."""

import msgspec


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every row carries: the run it belongs to and the unit of work that made it."""

    run_id: str
    unit_id: str
