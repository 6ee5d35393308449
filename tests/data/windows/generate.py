#!/usr/bin/env python3
"""Makes the reference vectors beside it. See README.md."""

import datetime as dt
import json
import random
import signal
import zoneinfo
from pathlib import Path

import icalendar
import recurring_ical_events
from croniter import croniter
from dateutil.rrule import rrulestr

# The zones of the package tzdata, not those of the machine.
zoneinfo.reset_tzpath([])
HERE = Path(__file__).parent
DAY = dt.timedelta(days=1)
UTC = dt.timezone.utc


def earlier(local, zone):
    """The instant of a local time: the earlier of two; in a gap moved forward by its length."""
    return local.replace(tzinfo=zone, fold=0).astimezone(UTC)


def skipped(day, zone):
    """Whether a zone skips the whole day."""
    start = earlier(dt.datetime.combine(day, dt.time()), zone)
    return start.astimezone(zone).date() > day


def occurrence(local, zone):
    return None if skipped(local.date(), zone) else earlier(local, zone)


def end_of(local, start, zone, days, seconds):
    if days:
        start = earlier(local + days * DAY, zone)
    return start + dt.timedelta(seconds=seconds)


def merged(spans):
    out = []
    for start, end in sorted(spans):
        if start >= end:
            continue
        if out and start <= out[-1][1]:
            out[-1][1] = max(out[-1][1], end)
        else:
            out.append([start, end])
    return out


def seconds(spans, lo, hi):
    return [[int(a.timestamp()), int(b.timestamp())] for a, b in merged(spans) if a < hi and lo < b]


def spans_of(locals_, zone, days, secs):
    out = []
    for local in locals_:
        start = occurrence(local, zone)
        if start is not None:
            out.append((start, end_of(local, start, zone, days, secs)))
    return out


ZONES = [
    "UTC", "Europe/Berlin", "Europe/Lisbon", "Australia/Lord_Howe", "Pacific/Apia", "America/Sao_Paulo",
    "Africa/Casablanca", "America/New_York", "Asia/Kolkata", "America/St_Johns", "Asia/Tehran", "Pacific/Kwajalein",
    "Africa/Cairo", "America/Mexico_City", "Asia/Beirut", "Europe/Dublin", "Pacific/Chatham", "America/Asuncion",
]

# The examples of RFC 5545, section 3.8.5.3, and odd ones beside them.
RULES = [
    ("19970902T090000", "FREQ=DAILY;COUNT=10"),
    ("19970902T090000", "FREQ=DAILY;UNTIL=19971224T000000Z"),
    ("19970902T090000", "FREQ=DAILY;INTERVAL=2"),
    ("19970902T090000", "FREQ=DAILY;INTERVAL=10;COUNT=5"),
    ("19980101T090000", "FREQ=YEARLY;UNTIL=20000131T140000Z;BYMONTH=1;BYDAY=SU,MO,TU,WE,TH,FR,SA"),
    ("19980101T090000", "FREQ=DAILY;UNTIL=20000131T140000Z;BYMONTH=1"),
    ("19970902T090000", "FREQ=WEEKLY;COUNT=10"),
    ("19970902T090000", "FREQ=WEEKLY;INTERVAL=2;WKST=SU"),
    ("19970902T090000", "FREQ=WEEKLY;UNTIL=19971007T000000Z;WKST=SU;BYDAY=TU,TH"),
    ("19970901T090000", "FREQ=WEEKLY;INTERVAL=2;UNTIL=19971224T000000Z;WKST=SU;BYDAY=MO,WE,FR"),
    ("19970902T090000", "FREQ=WEEKLY;INTERVAL=2;COUNT=8;WKST=SU;BYDAY=TU,TH"),
    ("19970905T090000", "FREQ=MONTHLY;COUNT=10;BYDAY=1FR"),
    ("19970905T090000", "FREQ=MONTHLY;UNTIL=19971224T000000Z;BYDAY=1FR"),
    ("19970907T090000", "FREQ=MONTHLY;INTERVAL=2;COUNT=10;BYDAY=1SU,-1SU"),
    ("19970922T090000", "FREQ=MONTHLY;COUNT=6;BYDAY=-2MO"),
    ("19970928T090000", "FREQ=MONTHLY;BYMONTHDAY=-3"),
    ("19970902T090000", "FREQ=MONTHLY;COUNT=10;BYMONTHDAY=2,15"),
    ("19970930T090000", "FREQ=MONTHLY;COUNT=10;BYMONTHDAY=1,-1"),
    ("19970910T090000", "FREQ=MONTHLY;INTERVAL=18;COUNT=10;BYMONTHDAY=10,11,12,13,14,15"),
    ("19970902T090000", "FREQ=MONTHLY;INTERVAL=2;BYDAY=TU"),
    ("19970610T090000", "FREQ=YEARLY;COUNT=10;BYMONTH=6,7"),
    ("19970310T090000", "FREQ=YEARLY;INTERVAL=2;COUNT=10;BYMONTH=1,2,3"),
    ("19970101T090000", "FREQ=YEARLY;INTERVAL=3;COUNT=10;BYYEARDAY=1,100,200"),
    ("19970519T090000", "FREQ=YEARLY;BYDAY=20MO"),
    ("19970512T090000", "FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO"),
    ("19970313T090000", "FREQ=YEARLY;BYMONTH=3;BYDAY=TH"),
    ("19970605T090000", "FREQ=YEARLY;BYDAY=TH;BYMONTH=6,7,8"),
    ("19970902T090000", "FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13"),
    ("19970913T090000", "FREQ=MONTHLY;BYDAY=SA;BYMONTHDAY=7,8,9,10,11,12,13"),
    ("19961105T090000", "FREQ=YEARLY;INTERVAL=4;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8"),
    ("19970904T090000", "FREQ=MONTHLY;COUNT=3;BYDAY=TU,WE,TH;BYSETPOS=3"),
    ("19970929T090000", "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-2"),
    ("19970902T090000", "FREQ=HOURLY;INTERVAL=3;UNTIL=19970902T170000Z"),
    ("19970902T090000", "FREQ=DAILY;BYHOUR=9,10,11,12,13,14,15,16;BYMINUTE=0,20,40"),
    ("19970805T090000", "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=MO"),
    ("19970805T090000", "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=SU"),
    ("20070115T090000", "FREQ=MONTHLY;BYMONTHDAY=15,30;COUNT=5"),
    ("19900101T093000", "FREQ=DAILY"),
    ("19900101T023000", "FREQ=DAILY"),
    ("19920229T120000", "FREQ=YEARLY"),
    ("20000131T120000", "FREQ=MONTHLY"),
    ("19991231T233000", "FREQ=YEARLY;BYYEARDAY=-1,366,60"),
    ("20090101T010000", "FREQ=YEARLY;BYWEEKNO=53,1,-1;BYDAY=MO,SU;WKST=SU"),
    ("20090101T010000", "FREQ=YEARLY;BYWEEKNO=1,53;BYDAY=MO,TH,SU"),
    ("20090101T010000", "FREQ=YEARLY;BYWEEKNO=-1,-52;BYDAY=WE"),
    ("20090101T000000", "FREQ=YEARLY;BYDAY=-1FR,1MO,53WE"),
    ("20090101T000000", "FREQ=YEARLY;BYMONTH=2,12;BYDAY=5SU,-5SA"),
    ("20090101T000000", "FREQ=YEARLY;BYMONTHDAY=-31,29;BYMONTH=2,3,5"),
    ("20090101T000000", "FREQ=YEARLY;BYDAY=MO,TU,WE;BYHOUR=1,2;BYSETPOS=1,5,-1"),
    ("20110101T013000", "FREQ=HOURLY;INTERVAL=5;BYDAY=SA,SU;BYMINUTE=0,30"),
    ("20110101T013000", "FREQ=HOURLY;BYMINUTE=5,10,15;BYSETPOS=-1;BYMONTH=3,10"),
    ("20110601T000000", "FREQ=DAILY;BYMONTHDAY=29,30,31"),
    ("20100103T220000", "FREQ=WEEKLY;BYDAY=SA,SU;BYSETPOS=-1"),
]

WEEKDAYS = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"]


def random_rule(rng):
    freq = rng.choice(["YEARLY", "YEARLY", "MONTHLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY"])
    parts = [f"FREQ={freq}"]

    def some(name, values, most=3):
        parts.append(f"{name}=" + ",".join(map(str, rng.sample(values, rng.randint(1, most)))))

    def signed(greatest):
        return [n for n in range(-greatest, greatest + 1) if n]

    if rng.random() < 0.5:
        parts.append(f"INTERVAL={rng.choice([1, 2, 3, 5, 7])}")
    week = freq == "YEARLY" and rng.random() < 0.25
    nth = freq in ("YEARLY", "MONTHLY") and not week and rng.random() < 0.5
    if week:
        # Not -52, which dateutil does not know as week 1 of the next year, and not 53: it sometimes
        # gives that number to the last week of the year before when there is none.
        some("BYWEEKNO", signed(51), 6)
    if rng.random() < 0.4:
        some("BYMONTH", list(range(1, 13)), 6)
    if freq in ("YEARLY", "HOURLY") and not week and rng.random() < 0.15:
        some("BYYEARDAY", signed(366), 20)
    elif freq in ("YEARLY", "MONTHLY", "DAILY") and not nth and not week and rng.random() < 0.3:
        some("BYMONTHDAY", signed(31), 10)
    if nth:
        # Every day with a number: dateutil takes the intersection of days with and without, where
        # the RFC has their union.
        days = rng.sample(WEEKDAYS, rng.randint(1, 4))
        limit = 5 if freq == "MONTHLY" or any(p.startswith("BYMONTH=") for p in parts) else 53
        parts.append("BYDAY=" + ",".join(str(rng.choice(signed(limit))) + d for d in days))
    elif week or rng.random() < 0.4:
        some("BYDAY", WEEKDAYS, 5)
    if rng.random() < 0.3:
        some("BYHOUR", list(range(24)), 4)
    if rng.random() < 0.2:
        some("BYMINUTE", list(range(60)), 3)
    set_ = [p for p in parts if p.startswith("BY")]
    if set_ and rng.random() < 0.3:
        some("BYSETPOS", [1, 2, 3, -1, -2, -3], 2)
    if rng.random() < 0.3:
        parts.append(f"WKST={rng.choice(WEEKDAYS)}")
    if rng.random() < 0.2:
        parts.append(f"COUNT={rng.randint(1, 400)}")
    return ";".join(parts)


class TooSlow(Exception):
    """dateutil walks to the year 9999 where a rule has no further occurrence."""


def ring(*_):
    raise TooSlow


signal.signal(signal.SIGALRM, ring)


def by_week(start, rule, lo, hi):
    """BYWEEKNO straight from its definition: a week belongs to the year that has four days of it."""
    parts = dict(part.split("=") for part in rule.split(";"))
    first = WEEKDAYS.index(parts.get("WKST", "MO"))
    weeks = {int(n) for n in parts["BYWEEKNO"].split(",")}
    days = {WEEKDAYS.index(d) for d in parts["BYDAY"].split(",")}
    out, at = [], max(start, lo.replace(hour=start.hour, minute=start.minute))
    while at <= hi:
        fourth = (at - DAY * ((at.weekday() - first) % 7) + 3 * DAY).date()
        nth = (fourth.timetuple().tm_yday - 1) // 7 + 1
        last = max(d for d in (dt.date(fourth.year, 12, n) for n in range(25, 32)) if d.weekday() == fourth.weekday())
        total = (last.timetuple().tm_yday - 1) // 7 + 1
        if at.weekday() in days and (nth in weeks or nth - total - 1 in weeks):
            out.append(at)
        at += DAY
    return out


def naive_starts(start, rule, lo, hi, zone):
    """Local starts by dateutil; UNTIL is taken out and compared as an instant."""
    until = None
    parts = rule.split(";")
    for part in parts:
        if part.startswith("UNTIL="):
            until = dt.datetime.strptime(part[6:], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    if "BYWEEKNO=" in rule and "53" in rule and set(p.split("=")[0] for p in parts) <= {"FREQ", "BYWEEKNO", "BYDAY", "WKST"}:
        return by_week(start, rule, lo, hi)
    kept = ";".join(part for part in parts if not part.startswith("UNTIL="))
    signal.setitimer(signal.ITIMER_REAL, 3)
    try:
        out = rrulestr(kept, dtstart=start).between(lo, hi, inc=True)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return [local for local in out if until is None or earlier(local, zone) <= until]


def rules():
    rng = random.Random(5545)
    cases = [(dt.datetime.strptime(s, "%Y%m%dT%H%M%S"), r) for s, r in RULES]
    while len(cases) < 360:
        # The first day of a month and of a week: dateutil begins BYSETPOS of the first week at the
        # start, where the RFC's set is the whole week.
        start = dt.datetime(rng.randint(1990, 2012), rng.randint(1, 12), rng.randint(1, 28), rng.randint(0, 23), rng.choice([0, 15, 30, 45]))
        rule = random_rule(rng)
        if "BYSETPOS" in rule and "WEEKLY" in rule:
            first = next((p[5:] for p in rule.split(";") if p.startswith("WKST=")), "MO")
            start -= DAY * ((start.weekday() - WEEKDAYS.index(first)) % 7)
        cases.append((start, rule))
    out = []
    for index, (start, rule) in enumerate(cases):
        name = ZONES[index % len(ZONES)] if index >= len(RULES) else rng.choice(["UTC", "America/New_York", "Pacific/Apia", "Australia/Lord_Howe"])
        zone = zoneinfo.ZoneInfo(name)
        if name == "Pacific/Apia" and "COUNT" in rule:
            name, zone = "Pacific/Chatham", zoneinfo.ZoneInfo("Pacific/Chatham")
        years = 20 if "YEARLY" in rule else 8 if "MONTHLY" in rule else 2
        lo = start if index % 3 == 0 else max(start, dt.datetime(rng.choice([2011, 2018, 2026]), rng.randint(1, 12), 1))
        if index < len(RULES) and index % 2:
            lo = start
        days, secs = rng.choice([(0, 900), (0, 1800), (1, 0), (0, 7200), (2, 3600), (0, 86400)])
        if "HOURLY" in rule and rule.count("BY") < 2:
            days, secs = 0, 900
        # Enough around the edges for every stretch that reaches over them.
        try:
            wide = naive_starts(start, rule, lo - 60 * DAY, lo + years * 366 * DAY, zone)
            # A rule without an occurrence in 20 years is an error.
            empty = not wide and not naive_starts(start, rule, start, start + 7300 * DAY, zone)
        except TooSlow:
            continue
        inside = [w for w in wide if w >= lo]
        if empty:
            out.append({"rule": rule, "start": start.isoformat(), "zone": name, "error": True})
            continue
        cut = inside[40] if len(inside) > 40 else lo + (years * 366 - 60) * DAY
        hi = cut
        spans = spans_of(wide, zone, days, secs)
        a, b = earlier(lo, zone), earlier(hi, zone)
        found = seconds(spans, a, b)
        # A stretch longer than the margin has unknown ends here.
        if any(y - x > 50 * 86400 for x, y in found):
            continue
        out.append({
            "rule": rule, "start": start.isoformat(), "zone": name, "duration": f"P{days}DT{secs}S",
            "from": int(a.timestamp()), "to": int(b.timestamp()), "stretches": found,
        })
    return out


CRONS = [
    "0 9 * * 5", "*/15 9-17 * * mon-fri", "0 0 1 * *", "0 0 13 * 5", "30 2 * * *", "0 0 29 2 *", "5,35 */3 * * *",
    "0 0 * * 0", "0 0 * * 7", "15 1 1-7 * sun", "0 12 */2 * 1", "0 0 1-31 * 3", "30 1 * * *", "0 0 * * *", "45 23 31 12 *",
    "0 3 * jan,jul tue", "59 23 * * *", "10/20 4 * * *", "0 2 * 3,10 *", "0 22 * * sat-sun", "0 */5 * * 5-7",
    "0 6 31 * *", "0 6 15 2 1", "*/30 0-3 * * *",
]


def crons():
    rng = random.Random(7)
    out = []
    for index, expression in enumerate(CRONS * 3):
        name = ZONES[(index * 5) % len(ZONES)]
        zone = zoneinfo.ZoneInfo(name)
        base = rng.choice([dt.datetime(2011, 12, 20), dt.datetime(2018, 10, 25), dt.datetime(2026, 3, 1), dt.datetime(2026, 9, 25)])
        days, secs = rng.choice([(0, 600), (0, 1800), (0, 5400), (1, 0)])
        found = croniter(expression, base - 40 * DAY - dt.timedelta(seconds=1))
        starts = []
        while len(starts) < 4000:
            starts.append(found.get_next(dt.datetime))
            if starts[-1] > base + 45 * DAY and len(starts) > 3:
                break
        a, b = earlier(base, zone), earlier(base + 40 * DAY, zone)
        stretches = seconds(spans_of(starts, zone, days, secs), a, b)
        if any(y - x > 30 * 86400 for x, y in stretches):
            continue
        out.append({
            "expression": expression, "zone": name, "duration": f"P{days}DT{secs}S",
            "from": int(a.timestamp()), "to": int(b.timestamp()), "stretches": stretches,
        })
    return out


def clock(text):
    hours, minutes = map(int, text.split(":"))
    return hours, minutes


def weekly():
    """Straight from the rule: each day by itself."""
    hours = [("09:00", "17:00"), ("22:00", "06:00"), ("00:00", "24:00"), ("02:30", "03:00"), ("01:00", "02:30"), ("23:00", "01:30"), ("00:30", "24:00"), ("02:15", "02:45"), ("12:00", "11:00")]
    months = [(2011, 12), (2018, 11), (2018, 2), (2026, 3), (2026, 4), (2026, 10), (2019, 3), (1992, 9), (1996, 3)]
    out = []
    rng = random.Random(11)
    for name in ZONES:
        zone = zoneinfo.ZoneInfo(name)
        for from_, to in hours:
            days = sorted(rng.sample(range(7), rng.choice([1, 2, 3, 5])))
            year, month = rng.choice(months)
            first = dt.date(year, month, 1)
            spans = []
            for offset in range(-10, 50):
                day = first + offset * DAY
                if day.weekday() not in days or skipped(day, zone):
                    continue
                (h1, m1), (h2, m2) = clock(from_), clock(to)
                begin = dt.datetime.combine(day, dt.time(h1, m1))
                end = dt.datetime.combine(day, dt.time()) + dt.timedelta(hours=h2, minutes=m2)
                if end <= begin:
                    end += DAY
                spans.append((earlier(begin, zone), earlier(end, zone)))
            a, b = earlier(dt.datetime.combine(first, dt.time()), zone), earlier(dt.datetime.combine(first + 35 * DAY, dt.time()), zone)
            out.append({
                "days": [["mon", "tue", "wed", "thu", "fri", "sat", "sun"][d] for d in days], "hours": [from_, to], "zone": name,
                "from": int(a.timestamp()), "to": int(b.timestamp()), "stretches": seconds(spans, a, b),
            })
    return out


VTIMEZONE = """BEGIN:VTIMEZONE
TZID:Our Own/Time
BEGIN:STANDARD
DTSTART:19701025T030000
RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU
TZOFFSETFROM:+0200
TZOFFSETTO:+0100
END:STANDARD
BEGIN:DAYLIGHT
DTSTART:19700329T020000
RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU
TZOFFSETFROM:+0100
TZOFFSETTO:+0200
END:DAYLIGHT
END:VTIMEZONE
"""



def calendar(*bodies, zones=""):
    out = "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//generate//EN\n" + zones
    for number, body in enumerate(bodies):
        uid = "" if "UID:" in body else f"UID:e{number}@x\n"
        out += f"BEGIN:VEVENT\n{uid}DTSTAMP:20260101T000000Z\n{body}\nEND:VEVENT\n"
    return out + "END:VCALENDAR\n"


CALENDARS = {
    "timed with DTEND and EXDATE": calendar("DTSTART;TZID=Europe/Berlin:20260302T090000\nDTEND;TZID=Europe/Berlin:20260302T113000\nRRULE:FREQ=WEEKLY;BYDAY=MO,WE\nEXDATE;TZID=Europe/Berlin:20260304T090000,20260316T090000"),
    "all-day holidays": calendar("DTSTART;VALUE=DATE:20260403\nRRULE:FREQ=YEARLY", "DTSTART;VALUE=DATE:20260405\nDTEND;VALUE=DATE:20260407", "DTSTART;VALUE=DATE:20260501\nDURATION:P2D"),
    "UTC instants": calendar("DTSTART:20260328T233000Z\nDTEND:20260329T013000Z\nRRULE:FREQ=DAILY;COUNT=5\nEXDATE:20260330T233000Z"),
    "a further date": calendar("DTSTART;TZID=America/New_York:20260305T120000\nDURATION:PT45M\nRRULE:FREQ=MONTHLY;COUNT=4\nRDATE;TZID=America/New_York:20260318T080000,20260319T080000"),
    "a moved occurrence": calendar("UID:m\nDTSTART;TZID=Europe/Lisbon:20260310T100000\nDTEND;TZID=Europe/Lisbon:20260310T110000\nRRULE:FREQ=WEEKLY;COUNT=6", "UID:m\nRECURRENCE-ID;TZID=Europe/Lisbon:20260324T100000\nDTSTART;TZID=Europe/Lisbon:20260402T150000\nDTEND;TZID=Europe/Lisbon:20260402T180000"),
    "a zone of its own": calendar("DTSTART;TZID=Our Own/Time:20260327T013000\nDTEND;TZID=Our Own/Time:20260327T033000\nRRULE:FREQ=DAILY;COUNT=5", zones=VTIMEZONE),
    "hours over midnight": calendar("DTSTART;TZID=Australia/Lord_Howe:20260403T220000\nDURATION:PT8H\nRRULE:FREQ=DAILY;UNTIL=20260410T000000Z"),
    "until as a date": calendar("DTSTART;VALUE=DATE:20260310\nRRULE:FREQ=DAILY;INTERVAL=3;UNTIL=20260331"),
    "last workday": calendar("DTSTART;TZID=Europe/Berlin:20260130T170000\nDTEND;TZID=Europe/Berlin:20260130T190000\nRRULE:FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1"),
    "two calendars in one": calendar("DTSTART:20260310T080000Z\nDURATION:PT1H") + calendar("DTSTART:20260311T080000Z\nDURATION:PT1H"),
}


def calendars():
    out = []
    lo, hi = dt.datetime(2026, 3, 1, tzinfo=UTC), dt.datetime(2026, 6, 1, tzinfo=UTC)
    for name, text in CALENDARS.items():
        for zone_name in ["UTC", "Europe/Berlin", "America/Sao_Paulo"]:
            zone = zoneinfo.ZoneInfo(zone_name)
            spans = []
            for parsed in icalendar.Calendar.from_ical(text, multiple=True):
                for found in recurring_ical_events.of(parsed).between(lo - 60 * DAY, hi + 60 * DAY):
                    ends = []
                    lengths = found["DTEND"].dt - found["DTSTART"].dt
                    timed = isinstance(found["DTSTART"].dt, dt.datetime)
                    for value in (found["DTSTART"].dt, found["DTEND"].dt):
                        if not isinstance(value, dt.datetime):
                            value = dt.datetime.combine(value, dt.time())
                        if value.tzinfo is None:
                            value = earlier(value, zone)
                        ends.append(value.astimezone(UTC))
                    if timed:
                        # The library keeps the length on the clock; hours are exact.
                        ends[1] = ends[0] + lengths
                    spans.append(tuple(ends))
            out.append({
                "name": name, "zone": zone_name, "calendar": text,
                "from": int(lo.timestamp()), "to": int(hi.timestamp()), "stretches": seconds(spans, lo, hi),
            })
    return out


def write(name, data):
    lines = ",\n".join(json.dumps(item) for item in data)
    (HERE / name).write_text(f"[\n{lines}\n]\n")
    print(name, len(data))


if __name__ == "__main__":
    write("rrule.json", rules())
    write("cron.json", crons())
    write("weekly.json", weekly())
    write("calendars.json", calendars())
