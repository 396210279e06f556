"""Other names of countries, continents, languages and genders, shared by types; it registers nothing."""

from __future__ import annotations

COUNTRIES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Bosnia and Herzegovina", ("Bosnia", "Bosnia & Herzegovina", "Bosnia-Herzegovina")),
    ("Cape Verde", ("Cabo Verde",)),
    ("China", ("People's Republic of China", "PRC", "PR China")),
    ("Curacao", ("Curaçao",)),
    ("Czech Republic", ("Czechia",)),
    (
        "Democratic Republic of the Congo",
        ("Democratic Republic of Congo", "DR Congo", "DRC", "Congo-Kinshasa"),
    ),
    ("East Timor", ("Timor-Leste",)),
    ("Eswatini", ("Swaziland",)),
    ("Faroe Islands (Denmark", ("Faroe Islands", "Denmark")),
    ("Ivory Coast", ("Côte d'Ivoire", "Cote d'Ivoire")),
    ("Macedonia", ("North Macedonia", "Republic of Macedonia", "Republic of North Macedonia")),
    ("Myanmar", ("Burma",)),
    ("Netherlands", ("Holland",)),
    ("the Netherlands", ("Holland",)),
    ("North Korea", ("DPRK", "Democratic People's Republic of Korea")),
    ("North Macedonia", ("Macedonia", "Republic of Macedonia", "Republic of North Macedonia")),
    ("Northern Ireland", ("United Kingdom", "UK", "U.K.")),
    ("Palestine", ("Palestinian Territories", "State of Palestine")),
    ("Republic of the Congo", ("Republic of Congo", "Congo-Brazzaville", "Congo Republic", "Congo")),
    ("Reunion", ("Réunion", "La Réunion")),
    ("Russia", ("Russian Federation",)),
    ("Scotland", ("United Kingdom", "UK", "U.K.")),
    ("South Korea", ("Korea", "Republic of Korea")),
    ("Swaziland", ("Eswatini",)),
    ("Taiwan", ("Republic of China",)),
    ("Timor-Leste", ("East Timor",)),
    ("Trinidad and Tobago", ("Trinidad", "Trinidad & Tobago")),
    ("Turkey", ("Türkiye", "Turkiye")),
    ("United Arab Emirates", ("UAE", "U.A.E.", "Emirates")),
    (
        "United Kingdom",
        ("UK", "U.K.", "Great Britain", "Britain", "England", "Scotland", "Wales", "Northern Ireland"),
    ),
    ("United States", ("USA", "U.S.A.", "US", "U.S.", "America")),
    ("United States Virgin Islands", ("US Virgin Islands", "U.S. Virgin Islands")),
    ("Vietnam", ("Viet Nam",)),
)
"""(name in the data, names that mean the same country, or of which it is a part that counts as one)."""

CONTINENTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("North America", ("N. America", "N America", "Northern America", "Central America", "NA", "America")),
    ("South America", ("S. America", "S America", "Latin America")),
    ("Oceania", ("Australia", "Australasia")),
)
"""(name in the data, other names); `America` alone counts for the north, as in the reference's rule."""

LANGUAGES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Austro-Bavarian German", ("Bavarian", "German")),
    ("Azerbaijani", ("Azeri",)),
    ("Belizean Creole", ("Kriol", "Creole")),
    ("Chinese", ("Mandarin",)),
    ("Divehi", ("Dhivehi", "Maldivian")),
    ("Guaraní", ("Guarani",)),
    ("Haitian Creole", ("Creole", "Kreyòl")),
    ("Indonesian", ("Bahasa",)),
    ("Khmer", ("Cambodian",)),
    ("Kinyarwanda", ("Rwanda",)),
    ("Kirundi", ("Rundi",)),
    ("Kyrgyz", ("Kirghiz",)),
    ("Lao", ("Laotian",)),
    ("Malay", ("Bahasa Melayu", "Bahasa Malaysia", "Malaysian")),
    ("Mandarin", ("Chinese",)),
    ("Mandarin Chinese", ("Chinese", "Mandarin")),
    ("Meiteilon", ("Meitei", "Manipuri")),
    ("Moldavian", ("Moldovan", "Romanian")),
    ("Norwegian Nynorsk", ("Norwegian", "Nynorsk")),
    ("Odia", ("Oriya",)),
    ("Papiamento", ("Papiamentu",)),
    ("Persian", ("Farsi",)),
    ("Punjabi", ("Panjabi",)),
    ("Rwanda", ("Kinyarwanda",)),
    ("Setswana", ("Tswana",)),
    ("Sinhala", ("Sinhalese",)),
    ("Slovene", ("Slovenian",)),
    ("Slovenian", ("Slovene",)),
    ("Sotho", ("Sesotho", "Southern Sotho")),
    ("Swahili", ("Kiswahili",)),
    ("Tadzhik", ("Tajik",)),
    ("Tswana", ("Setswana",)),
    ("Xhosa", ("isiXhosa",)),
    ("Zulu", ("isiZulu",)),
)
"""(name in the data, names of the same language)."""

GENDERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("male", ("he", "him", "his", "man", "men")),
    ("female", ("she", "her", "hers", "woman", "women")),
)
"""(name in the data, words by which templates elicit it)."""
