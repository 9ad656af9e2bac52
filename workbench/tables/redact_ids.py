"""Checks of national identity numbers: checksums, birthdays and forms, by country.

A check takes what a rule's pattern matched, as ASCII text, and gives how many of its first characters are true; 0 for none.
Weights and moduli are those that the issuers publish; where a country has no checksum, the form and a birthday decide.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence


def luhn(value: str) -> int:
    """The length of a text whose digits pass the Luhn formula (ISO/IEC 7812-1), else 0.

    >>> luhn("4111 1111 1111 1111"), luhn("4111 1111 1111 1112")
    (19, 0)
    """
    digits = digits_of(value)
    total = sum(digits[-1::-2]) + sum(2 * d - 9 * (d > 4) for d in digits[-2::-2])
    return len(value) if digits and total % 10 == 0 and any(digits) else 0


def us_ssn(value: str) -> int:
    """The length of a US number that may have been given: area, group and serial not 0, no area 666 (SSA, 2011)."""
    digits = re.sub(r"\D", "", value)
    if len(set(re.sub(r"[0-9]", "", value))) > 1:
        return 0
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    taxpayer = area[0] == "9" and (
        50 <= int(group) <= 65 or 70 <= int(group) <= 88 or (90 <= int(group) <= 99 and group != "93")
    )
    good = area not in ("000", "666") and (area[0] != "9" or taxpayer) and group != "00" and serial != "0000"
    return len(value) if good else 0


def licence(value: str) -> int:
    """The length of a number of a licence or passport: 5 to 20 letters and digits, at least 4 digits."""
    plain = re.sub(r"[^0-9A-Za-z]", "", value)
    return len(value) if 5 <= len(plain) <= 20 and sum(one.isdigit() for one in plain) >= 4 else 0


def uk_nino(value: str) -> int:
    """The length of a National Insurance number: prefixes that are not given are none (HMRC, NIM39110)."""
    return 0 if value[:2] in ("BG", "GB", "KN", "NK", "NT", "TN", "ZZ") else len(value)


def es_dni(value: str) -> int:
    """The length of a Spanish DNI or NIE: its letter is the number mod 23.

    >>> es_dni("12345678Z"), es_dni("X1234567L"), es_dni("12345678A")
    (9, 9, 0)
    """
    text = value.replace("-", "")
    number = int(text[:-1].replace("X", "0").replace("Y", "1").replace("Z", "2"))
    return len(value) if "TRWAGMYFPDXBNJZSQVHLCKE"[number % 23] == text[-1] else 0


def it_fiscal_code(value: str) -> int:
    """The length of an Italian codice fiscale: its last letter is the sum of the others by place, mod 26 (DM 23/12/1976)."""
    odd = dict(
        zip(
            "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
            (1, 0, 5, 7, 9, 13, 15, 17, 19, 21) * 2 + (2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23),
            strict=True,
        )
    )
    text = value.upper()
    total = sum(odd[c] if k % 2 == 0 else int(c) if c.isdigit() else ord(c) - 65 for k, c in enumerate(text[:15]))
    return len(value) if chr(65 + total % 26) == text[15] else 0


def fr_nir(value: str) -> int:
    """The length of a French social security number: its key is 97 less the number mod 97."""
    text = value.replace(" ", "")
    number = int(text[:13].replace("2A", "19").replace("2B", "18"))
    return len(value) if 97 - number % 97 == int(text[13:]) else 0


def dated_id(value: str) -> int:
    """The length of a number that begins with a birthday: Czech and Slovak, Danish, Finnish, Swedish, Belgian, Korean.

    The checksum of the country decides; Danish (since 2007) and Korean (since 2020) numbers have none.
    """
    digits = re.sub(r"\D", "", value)
    if re.fullmatch(r"\d{6}[-+A-FU-Y]\d{3}[0-9A-Y]", value) and _day(digits[:6], "dmy"):
        key = "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(value[:6] + value[7:10]) % 31]
        if key == value[10]:
            return len(value)  # Finland
    if not re.fullmatch(r"[0-9./ +-]+", value):
        return 0
    if len(digits) == 11 and re.fullmatch(r"[\d.]{6,8}[- ]\d{3}[. ]\d{2}", value):
        number, left = int(digits[:9]), int(digits[9:])
        return len(value) if left in (97 - number % 97, 97 - (2_000_000_000 + number) % 97) else 0  # Belgium
    if re.fullmatch(r"\d{6}-[1-8]\d{6}", value):
        return len(value) if _day(digits[:6], "ymd") else 0  # Korea
    if "/" in value:
        month = int(digits[2:4]) % 50 % 20 if len(digits) > 8 else 0
        good = 1 <= month <= 12 and 1 <= int(digits[4:6]) <= 31
        return len(value) if good and (len(digits) == 9 or int(digits) % 11 == 0) else 0  # Czechia and Slovakia
    if re.fullmatch(r"(?:19|20)?\d{6}[-+]\d{4}", value):
        short = digits[-10:]
        if _day(short[:6], "ymd") and luhn(short):
            return len(value)  # Sweden
        return len(value) if len(digits) == 10 and "-" in value and _day(short[:6], "dmy") else 0  # Denmark
    return 0


def eleven_digits(value: str) -> int:
    """The length of a Polish PESEL or a Norwegian birth number: a birthday, and one or two checksums."""
    digits = digits_of(value)
    month = digits[2] * 10 + digits[3]
    living = month < 20 or (month < 40 and digits[0] < 3)  # of 1900 to 2029: unannounced, other digits are no birthday
    born = living and 1 <= month % 20 <= 12 and 1 <= digits[4] * 10 + digits[5] <= 31
    if born and sum(w * d for w, d in zip((1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1), digits, strict=True)) % 10 == 0:
        return len(value)
    day, month = (digits[0] * 10 + digits[1]) % 40, (digits[2] * 10 + digits[3]) % 40
    first = sum(w * d for w, d in zip((3, 7, 6, 1, 8, 9, 4, 5, 2, 1), digits[:10], strict=True)) % 11
    second = sum(w * d for w, d in zip((5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1), digits, strict=True)) % 11
    return len(value) if 1 <= day <= 31 and 1 <= month <= 12 and first == 0 and second == 0 else 0


def ch_ahv(value: str) -> int:
    """The length of a Swiss AHV number: EAN-13."""
    return len(value) if ean(value) else 0


def ean(value: str) -> bool:
    """Whether thirteen digits are the number of an article (GS1)."""
    return sum(d * (3 if k % 2 else 1) for k, d in enumerate(digits_of(value))) % 10 == 0


def br_cpf(value: str) -> int:
    """The length of a Brazilian CPF: two check digits mod 11.

    >>> br_cpf("529.982.247-25"), br_cpf("529.982.247-24")
    (14, 0)
    """
    digits = digits_of(value)
    if len(digits) != 11 or len(set(digits)) == 1:
        return 0
    for n in (9, 10):
        if sum((n + 1 - k) * digits[k] for k in range(n)) * 10 % 11 % 10 != digits[n]:
            return 0
    return len(value)


# Verhoeff (1969): the permutation of the digits at each place; `_product` multiplies in the dihedral group D5.
_PLACE = [list(range(10)), [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]]
for _ in range(6):
    _PLACE.append([_PLACE[1][one] for one in _PLACE[-1]])


def _product(j: int, k: int) -> int:
    turned = (j + k if j < 5 else j - k) % 5
    return turned + 5 * ((j < 5) != (k < 5))


def in_aadhaar(value: str) -> int:
    """The length of an Indian Aadhaar number: 12 digits by Verhoeff's check."""
    check = 0
    digits = digits_of(value)
    for k, digit in enumerate(reversed(digits)):
        check = _product(check, _PLACE[k % 8][digit])
    years = all(one[:2] in ("19", "20") for one in re.split(r"[ -]", value)) and len(value) == 14
    return len(value) if len(digits) == 12 and check == 0 and digits[0] > 1 and not years else 0


def cn_id(value: str) -> int:
    """The length of a Chinese resident number: ISO 7064 mod 11-2 (GB 11643)."""
    total = sum(
        int(d) * w for d, w in zip(value[:17], (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2), strict=True)
    )
    return len(value) if "10X98765432"[total % 11] == value[17].upper() else 0


def sg_nric(value: str) -> int:
    """The length of a Singaporean NRIC or FIN: its letter is a weighted sum mod 11."""
    total = sum(int(d) * w for d, w in zip(value[1:8], (2, 7, 6, 5, 4, 3, 2), strict=True))
    total += {"T": 4, "G": 4, "M": 3}.get(value[0], 0)
    letters = {"S": "JZIHGFEDCBA", "T": "JZIHGFEDCBA", "F": "XWUTRQPNMLK", "G": "XWUTRQPNMLK", "M": "KLJNPQRTUWX"}
    if value[0] == "M":
        return len(value) if value[8] in letters["M"] else 0
    return len(value) if letters[value[0]][total % 11] == value[8] else 0


def br_cnpj(value: str) -> int:
    """The length of a Brazilian CNPJ: two check digits mod 11."""
    d = digits_of(value)
    rests = [sum(w * x for w, x in zip((*range(4 + k, 1, -1), *range(9, 1, -1)), d, strict=False)) % 11 for k in (1, 2)]
    return len(value) if [0 if rest < 2 else 11 - rest for rest in rests] == d[12:] else 0


def mx_curp(value: str) -> int:
    """The length of a Mexican CURP: its last digit is a weighted sum of the others mod 10 (RENAPO)."""
    text = value.upper()
    order = "0123456789ABCDEFGHIJKLMN\u00d1OPQRSTUVWXYZ"
    total = sum((18 - k) * order.index(one) for k, one in enumerate(text[:17]))
    return len(value) if -total % 10 == int(text[17]) and _day(text[4:10], "ymd") else 0


def cl_rut(value: str) -> int:
    """The length of a Chilean RUT: a digit or K, mod 11.

    >>> cl_rut("12.531.909-2"), cl_rut("12.531.909-3")
    (12, 0)
    """
    text = re.sub(r"[.-]", "", value).upper()
    total = sum(int(one) * (2 + k % 6) for k, one in enumerate(reversed(text[:-1])))
    return len(value) if "0123456789K"[-total % 11] == text[-1] else 0


def ar_cuit(value: str) -> int:
    """The length of an Argentinian CUIT or CUIL: mod 11."""
    d = digits_of(value)
    rest = sum(w * x for w, x in zip((5, 4, 3, 2, 7, 6, 5, 4, 3, 2), d[:10], strict=True)) % 11
    return len(value) if "012345678990"[11 - rest] == str(d[10]) else 0


def ru_snils(value: str) -> int:
    """The length of a Russian SNILS: its last two digits are a weighted sum mod 101."""
    d = digits_of(value)
    return len(value) if sum((9 - k) * d[k] for k in range(9)) % 101 % 100 == 10 * d[9] + d[10] else 0


def lv_code(value: str) -> int:
    """The length of a Latvian personal code with a birthday: mod 11."""
    d = digits_of(value)
    check = (1 + sum(w * x for w, x in zip((10, 5, 8, 4, 2, 1, 6, 3, 7, 9), d[:10], strict=True))) % 11 % 10
    return len(value) if check == d[10] and _day(value[:6], "dmy") else 0


def hk_id(value: str) -> int:
    """The length of a Hong Kong identity card's number: a digit or A in brackets, mod 11."""
    text = re.sub(r"[()]", "", value).upper()
    letters = [36] * (9 - len(text)) + [ord(one) - 55 for one in text[: len(text) - 7]]
    total = sum(w * x for w, x in zip(range(9, 1, -1), [*letters, *map(int, text[-7:-1])], strict=True))
    return len(value) if "0123456789A"[-total % 11] == text[-1] else 0


def tw_id(value: str) -> int:
    """The length of a Taiwanese number: a letter and nine digits, mod 10."""
    number = dict(zip("ABCDEFGHJKLMNPQRSTUVXYWZIO", range(10, 36), strict=True))[value[0]]
    total = (
        number // 10
        + 9 * (number % 10)
        + sum(w * int(x) for w, x in zip((*range(8, 0, -1), 1), value[1:], strict=True))
    )
    return len(value) if total % 10 == 0 else 0


def th_id(value: str) -> int:
    """The length of a Thai number: mod 11."""
    d = digits_of(value)
    return len(value) if (11 - sum((13 - k) * d[k] for k in range(12)) % 11) % 10 == d[12] else 0


def my_nric(value: str) -> int:
    """The length of a Malaysian number: a birthday and a place of birth."""
    return (
        len(value)
        if _day(value[:6], "ymd") and value[7:9] not in ("00", "17", "18", "19", "20", "69", "70", "73")
        else 0
    )


def id_announced(value: str) -> int:
    """The length of a number that passes the check of a country whose numbers are bare digits; a word stood before it."""
    text = re.sub(r"[^0-9A-Za-z]", "", value).upper()
    if not text.isdigit():
        if text[:-1].isdigit() and text[-1] == "K" and "-" in value:
            return cl_rut(value)
        if re.fullmatch(r"[A-Z]{2}\d{6}[A-D]", text):
            form = re.fullmatch(r"QQ.*|[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z].*", text)
            return uk_nino(text) and len(value) if form else 0
        if re.fullmatch(r"[XYZ]\d{7}[A-Z]|\d{8}[A-Z]", text):
            return es_dni(text) and len(value)
        total = sum(int(d) * w for d, w in zip(text[:7], range(8, 1, -1), strict=True))
        total += 9 * (ord(text[8]) - 64 if len(text) > 8 and text[8] != "W" else 0)
        return len(value) if "WABCDEFGHIJKLMNOPQRSTUV"[total % 23] == text[7] else 0  # Ireland
    d = [int(one) for one in text]
    good = len(set(d)) > 1 and not re.fullmatch(r"\d+[.]\d+", value) and any(check(d) for check in BARE.get(len(d), ()))
    return len(value) if good else 0


def digits_of(value: str) -> list[int]:
    return [ord(one) - 48 for one in value if "0" <= one <= "9"]


def _day(digits: str, order: str) -> bool:
    parts = dict(zip(order, (int(digits[:2]), int(digits[2:4]), int(digits[4:6])), strict=True))
    return 1 <= parts["m"] <= 12 and 1 <= parts["d"] <= 31


def weighted(digits: Sequence[int], weights: Sequence[int], modulus: int) -> bool:
    return len(digits) == len(weights) and sum(w * d for w, d in zip(weights, digits, strict=True)) % modulus == 0


def _germany(d: Sequence[int]) -> bool:
    product = 10
    for digit in d[:10]:
        product = ((digit + product) % 10 or 10) * 2 % 11
    return len(d) == 11 and d[0] != 0 and (11 - product) % 10 == d[10]


def _turkey(d: Sequence[int]) -> bool:
    good = len(d) == 11 and d[0] != 0
    return good and (7 * sum(d[:9:2]) - sum(d[1:8:2])) % 10 == d[9] and sum(d[:10]) % 10 == d[10]


def _japan(d: Sequence[int]) -> bool:
    if len(d) != 12:
        return False
    rest = sum(x * w for x, w in zip(reversed(d[:11]), (2, 3, 4, 5, 6, 7, 2, 3, 4, 5, 6), strict=True)) % 11
    return (0 if rest < 2 else 11 - rest) == d[11]


def _text(d: Sequence[int]) -> str:
    return "".join(map(str, d))


def _sum(d: Sequence[int], weights: Sequence[int], modulus: int = 11) -> int:
    return sum(w * x for w, x in zip(weights, d, strict=False)) % modulus


def _ten(d: Sequence[int]) -> bool:
    """Whether ten digits are a number of Austria, Great Britain (NHS), Bulgaria, Australia (Medicare), Ukraine or Sweden."""
    return (
        _sum(d, (3, 7, 9, 0, 5, 8, 4, 2, 1, 6)) == d[3]
        or -_sum(d, range(10, 1, -1)) % 11 == d[9]
        or (_sum(d, (2, 4, 8, 5, 10, 9, 7, 3, 6)) % 10 == d[9] and 1 <= (10 * d[2] + d[3]) % 20 <= 12)
        or (_sum(d, (1, 3, 7, 9, 1, 3, 7, 9), 10) == d[8] and 2 <= d[0] <= 6)
        or _sum(d, (-1, 5, 7, 9, 4, 6, 10, 5, 7)) % 10 == d[9]
        or (luhn(_text(d)) > 0 and _day(_text(d), "ymd"))
    )


def _baltic(d: Sequence[int]) -> bool:
    """Estonia and Lithuania."""
    check = _sum(d, (1, 2, 3, 4, 5, 6, 7, 8, 9, 1))
    return (check if check < 10 else _sum(d, (3, 4, 5, 6, 7, 8, 9, 1, 2, 3)) % 10) == d[10] and _day(
        _text(d[1:7]), "ymd"
    )


def _romania(d: Sequence[int]) -> bool:
    check = _sum(d, (2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9))
    return (1 if check == 10 else check) == d[12] and _day(_text(d[1:7]), "ymd")


def _russia(d: Sequence[int]) -> bool:
    first = _sum(d, (7, 2, 4, 10, 3, 5, 9, 4, 6, 8)) % 10
    return first == d[10] and _sum(d, (3, 7, 2, 4, 10, 3, 5, 9, 4, 6, 8)) % 10 == d[11]


BARE: dict[int, tuple[Callable[[list[int]], bool], ...]] = {  # digits: whether they are a number of some country
    8: (lambda d: weighted(d, (1, 4, 3, 7, 5, 8, 6, 10), 11), lambda d: cl_rut(_text(d)) > 0),  # Australia, Chile
    9: (
        lambda d: luhn(_text(d)) > 0,  # Canada, Israel
        lambda d: weighted(d, (1, 4, 3, 7, 5, 8, 6, 9, 10), 11),  # Australia
        lambda d: weighted(d, (9, 8, 7, 6, 5, 4, 3, 2, -1), 11),  # Netherlands
        lambda d: -_sum(d, range(9, 1, -1)) % 11 % 10 == d[8],  # Portugal
        lambda d: cl_rut(_text(d)) > 0,
    ),
    10: (_ten,),
    11: (
        lambda d: _sum(d, range(1, 11)) == d[10] and _day(_text(d[1:7]), "ymd"),  # Hungary
        lambda d: br_cpf(_text(d)) > 0,
        _germany,  # also Croatia
        _turkey,
        _baltic,
        lambda d: eleven_digits(_text(d)) > 0,  # Poland, Norway
        lambda d: luhn(_text(d)) > 0 and _day(_text(d), "dmy"),  # Greece
        lambda d: ar_cuit(_text(d)) > 0,
        lambda d: ru_snils(_text(d)) > 0,
        lambda d: (
            _sum(d, (1, 3, 7, 9, 1, 3, 7, 9), 10) == d[8] and 2 <= d[0] <= 6
        ),  # Australia's Medicare with its last digit
    ),
    12: (
        lambda d: in_aadhaar(_text(d)) > 0,
        _japan,
        _russia,
        lambda d: luhn(_text(d[2:])) > 0 and _day(_text(d[2:]), "ymd"),  # Sweden
    ),
    13: (
        _romania,
        lambda d: (
            -_sum(d, (7, 6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11 % 10 == d[12] and _day(_text(d), "dmy")
        ),  # Serbia, Slovenia ...
        lambda d: th_id(_text(d)) > 0,
    ),
}
