"""What the models know by heart: capital cities and how many of one unit make another."""

from __future__ import annotations

from dataclasses import dataclass

WELL_KNOWN_CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid", "Portugal": "Lisbon",
    "the United Kingdom": "London", "Ireland": "Dublin", "Greece": "Athens", "Austria": "Vienna",
    "Poland": "Warsaw", "Russia": "Moscow", "Ukraine": "Kyiv", "Sweden": "Stockholm", "Norway": "Oslo",
    "Denmark": "Copenhagen", "Finland": "Helsinki", "Belgium": "Brussels", "the Netherlands": "Amsterdam",
    "Switzerland": "Bern", "Hungary": "Budapest", "Turkey": "Ankara", "Egypt": "Cairo",
    "China": "Beijing", "Japan": "Tokyo", "India": "New Delhi", "Thailand": "Bangkok",
    "South Korea": "Seoul", "Indonesia": "Jakarta", "Australia": "Canberra", "Canada": "Ottawa",
    "Mexico": "Mexico City", "Brazil": "Brasilia", "Argentina": "Buenos Aires", "Peru": "Lima",
    "Chile": "Santiago", "Cuba": "Havana", "Kenya": "Nairobi", "Iran": "Tehran", "Iraq": "Baghdad",
    "Vietnam": "Hanoi", "the United States": "Washington",
}  # fmt: skip

LESS_KNOWN_CAPITALS = {
    "Albania": "Tirana", "Algeria": "Algiers", "Angola": "Luanda", "Armenia": "Yerevan",
    "Azerbaijan": "Baku", "Bahrain": "Manama", "Bangladesh": "Dhaka", "Belarus": "Minsk",
    "Belize": "Belmopan", "Bhutan": "Thimphu", "Botswana": "Gaborone", "Bulgaria": "Sofia",
    "Burkina Faso": "Ouagadougou", "Cambodia": "Phnom Penh", "Cameroon": "Yaounde",
    "Colombia": "Bogota", "Costa Rica": "San Jose", "Croatia": "Zagreb", "Cyprus": "Nicosia",
    "Czechia": "Prague", "Ecuador": "Quito", "Eritrea": "Asmara", "Estonia": "Tallinn",
    "Ethiopia": "Addis Ababa", "Fiji": "Suva", "Georgia": "Tbilisi", "Ghana": "Accra",
    "Guatemala": "Guatemala City", "Guyana": "Georgetown", "Honduras": "Tegucigalpa",
    "Iceland": "Reykjavik", "Jamaica": "Kingston", "Jordan": "Amman", "Kazakhstan": "Astana",
    "Kyrgyzstan": "Bishkek", "Laos": "Vientiane", "Latvia": "Riga", "Lebanon": "Beirut",
    "Libya": "Tripoli", "Lithuania": "Vilnius", "Madagascar": "Antananarivo", "Malawi": "Lilongwe",
    "Mali": "Bamako", "Malta": "Valletta", "Moldova": "Chisinau", "Mongolia": "Ulaanbaatar",
    "Morocco": "Rabat", "Mozambique": "Maputo", "Namibia": "Windhoek", "Nepal": "Kathmandu",
    "Nicaragua": "Managua", "Niger": "Niamey", "Nigeria": "Abuja", "Oman": "Muscat",
    "Pakistan": "Islamabad", "Panama": "Panama City", "Paraguay": "Asuncion",
    "the Philippines": "Manila", "Qatar": "Doha", "Romania": "Bucharest", "Rwanda": "Kigali",
    "Samoa": "Apia", "Senegal": "Dakar", "Serbia": "Belgrade", "Slovakia": "Bratislava",
    "Slovenia": "Ljubljana", "Somalia": "Mogadishu", "Sudan": "Khartoum", "Suriname": "Paramaribo",
    "Syria": "Damascus", "Tajikistan": "Dushanbe", "Togo": "Lome", "Tunisia": "Tunis",
    "Uganda": "Kampala", "Uruguay": "Montevideo", "Uzbekistan": "Tashkent", "Venezuela": "Caracas",
    "Yemen": "Sanaa", "Zambia": "Lusaka", "Zimbabwe": "Harare",
}  # fmt: skip


@dataclass(frozen=True)
class Unit:
    """`count` of `small` make one `large`; all words in the plural but `one`."""

    one: str
    large: str
    small: str
    count: int


UNITS = (
    Unit("a minute", "minutes", "seconds", 60),
    Unit("an hour", "hours", "minutes", 60),
    Unit("a day", "days", "hours", 24),
    Unit("a week", "weeks", "days", 7),
    Unit("a year", "years", "months", 12),
    Unit("a decade", "decades", "years", 10),
    Unit("a century", "centuries", "years", 100),
    Unit("a millennium", "millennia", "years", 1000),
    Unit("a foot", "feet", "inches", 12),
    Unit("a yard", "yards", "feet", 3),
    Unit("a dozen", "dozens", "eggs", 12),
    Unit("a centimetre", "centimetres", "millimetres", 10),
    Unit("a metre", "metres", "centimetres", 100),
    Unit("a kilometre", "kilometres", "metres", 1000),
    Unit("a kilogram", "kilograms", "grams", 1000),
    Unit("a tonne", "tonnes", "kilograms", 1000),
    Unit("a litre", "litres", "millilitres", 1000),
    Unit("a pound", "pounds", "ounces", 16),
    Unit("a gallon", "gallons", "quarts", 4),
    Unit("a quart", "quarts", "pints", 2),
    Unit("a pint", "pints", "cups", 2),
    Unit("a dollar", "dollars", "cents", 100),
    Unit("a euro", "euros", "cents", 100),
)
