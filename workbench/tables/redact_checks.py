"""What an expression cannot know of personal data: checksums, dates and lengths.

A check takes what a rule's pattern matched, as ASCII text, and gives how many of its first characters are true; 0 for
none. It may give fewer than all, where a pattern ran on into the next word.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence

# Issuers of payment cards by their first digits, with the lengths in use (ISO/IEC 7812; network specifications).
CARDS: tuple[tuple[str, tuple[int, ...]], ...] = (
    (r"4", (13, 16, 19)),
    (r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720", (16,)),
    (r"3[47]", (15,)),
    (r"30[0-5]|3095|3[689]", (14, 16, 17, 18, 19)),
    (r"35", (16, 17, 18, 19)),
    (r"1800|2131", (15,)),
    (r"0604|6011|64[4-9]|65|62|81|60|63|67|68|69|5[06-8]|66", (12, 13, 14, 15, 16, 17, 18, 19)),
    (r"220[0-4]", (16, 17, 18, 19)),
)
CARD = re.compile("|".join(f"(?P<n{i}>{prefix})" for i, (prefix, _) in enumerate(CARDS)))
GROUPED = re.compile(r"\d{4}([ -])\d{4}\1\d{4}\1\d{1,4}(?:\1\d{3})?(?!\d)|\d{4}([ -])\d{6}\2\d{4,5}(?!\d)")
# Lengths of an IBAN by country (the registry of ISO 13616).
IBAN_LENGTHS = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24 "
    "FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 "
    "LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 "
    "RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30"
)
PLACES = {one: str(k) for k, one in enumerate("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")}
IBAN = {one[:2]: int(one[2:]) for one in IBAN_LENGTHS.split()}


def luhn(value: str) -> int:
    """The length of a text whose digits pass the Luhn formula (ISO/IEC 7812-1), else 0.

    >>> luhn("4111 1111 1111 1111"), luhn("4111 1111 1111 1112")
    (19, 0)
    """
    digits = _digits(value)
    total = sum(digits[-1::-2]) + sum(2 * d - 9 * (d > 4) for d in digits[-2::-2])
    return len(value) if digits and total % 10 == 0 and any(digits) else 0


def card(value: str) -> int:
    """The length of a payment card's number at the start: a known issuer, its length, the usual groups, Luhn."""
    plain = len(value) - len(value.lstrip("0123456789"))
    grouped = GROUPED.match(value)
    for end in [grouped.end()] if grouped else [plain] if plain == len(value) or value[plain] in " -" else []:
        digits = re.sub(r"\D", "", value[:end])
        issuer = CARD.match(digits)
        known = issuer and issuer.lastgroup and len(digits) in CARDS[int(issuer.lastgroup[1:])][1]
        if known and luhn(digits) and len(set(digits)) > 1:
            return end
    return 0


def iban(value: str) -> int:
    """The length of an IBAN at the start: the length of its country, and mod 97 (ISO 7064) equal to 1.

    >>> iban("DE89 3704 0044 0532 0130 00 and"), iban("DE89370400440532013001")
    (27, 0)
    """
    want = IBAN.get(value[:2].upper(), 0)
    text = value.replace(" ", "").replace("-", "")[:want].upper()
    if not want or len(text) < want or int("".join([PLACES[one] for one in text[4:] + text[:4]])) % 97 != 1:
        return 0
    end = [k for k, one in enumerate(value) if one.isalnum()][want - 1] + 1
    return 0 if end < len(value) and value[end].isalnum() else end


def ipv6(value: str) -> int:
    """The length of an IPv6 address; what looks like a path of names (`a::b`) is none."""
    try:
        ipaddress.IPv6Address(value)
    except ValueError:
        return 0
    return len(value) if re.search(r"\d", value) or value.count(":") > 4 else 0


def phone(value: str) -> int:
    """The length of a text of 7 to 15 digits (ITU-T E.164) before an extension, not all the same."""
    number = re.split(r" ?(?:x|e)", value, maxsplit=1)[0]
    digits = _digits(number)
    good = 7 <= len(digits) <= 15 and len(set(digits)) > 1 and digits[:3] != [0, 0, 0]
    return len(value) if good and not _date(number) else 0


def phone_groups(value: str) -> int:
    """As `phone`, for the less certain forms: no date, no time, no decimal number."""
    if re.fullmatch(r"\d+\.\d+", value) or re.match(r"\d{1,3}(?:\.\d{1,3}){3}$", value):
        return 0
    return phone(value)


def us_ssn(value: str) -> int:
    """The length of a US number that may have been given: area, group and serial not 0, no area 666 (SSA, 2011)."""
    digits = re.sub(r"\D", "", value)
    if len(set(re.sub(r"[0-9]", "", value))) > 1:
        return 0
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    taxpayer = area[0] == "9" and (50 <= int(group) <= 65 or 70 <= int(group) <= 88 or 90 <= int(group) <= 99)
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
    digits = _digits(value)
    month = digits[2] * 10 + digits[3]
    born = 1 <= month % 20 <= 12 and 1 <= digits[4] * 10 + digits[5] <= 31
    if born and sum(w * d for w, d in zip((1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1), digits, strict=True)) % 10 == 0:
        return len(value)
    day, month = (digits[0] * 10 + digits[1]) % 40, (digits[2] * 10 + digits[3]) % 40
    first = sum(w * d for w, d in zip((3, 7, 6, 1, 8, 9, 4, 5, 2, 1), digits[:10], strict=True)) % 11
    second = sum(w * d for w, d in zip((5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1), digits, strict=True)) % 11
    return len(value) if 1 <= day <= 31 and 1 <= month <= 12 and first == 0 and second == 0 else 0


def ch_ahv(value: str) -> int:
    """The length of a Swiss AHV number: EAN-13."""
    digits = _digits(value)
    return len(value) if sum(d * (3 if k % 2 else 1) for k, d in enumerate(digits)) % 10 == 0 else 0


def br_cpf(value: str) -> int:
    """The length of a Brazilian CPF: two check digits mod 11.

    >>> br_cpf("529.982.247-25"), br_cpf("529.982.247-24")
    (14, 0)
    """
    digits = _digits(value)
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
    digits = _digits(value)
    for k, digit in enumerate(reversed(digits)):
        check = _product(check, _PLACE[k % 8][digit])
    return len(value) if len(digits) == 12 and check == 0 and digits[0] > 1 else 0


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


def id_announced(value: str) -> int:
    """The length of a number that passes the check of a country whose numbers are bare digits; a word stood before it."""
    text = re.sub(r"[^0-9A-Za-z]", "", value).upper()
    if not text.isdigit():
        total = sum(int(d) * w for d, w in zip(text[:7], range(8, 1, -1), strict=True))
        total += 9 * (ord(text[8]) - 64 if len(text) > 8 and text[8] != "W" else 0)
        return len(value) if "WABCDEFGHIJKLMNOPQRSTUV"[total % 23] == text[7] else 0  # Ireland
    d = [int(one) for one in text]
    checks: dict[int, list[bool]] = {
        8: [_weighted(d, (1, 4, 3, 7, 5, 8, 6, 10), 11)],  # Australia, eight digits
        9: [
            luhn(text) > 0,  # Canada
            _weighted(d, (1, 4, 3, 7, 5, 8, 6, 9, 10), 11),  # Australia
            _weighted(d, (9, 8, 7, 6, 5, 4, 3, 2, -1), 11),  # Netherlands
            len(d) == 9 and (11 - sum((9 - k) * d[k] for k in range(8)) % 11) % 11 % 10 == d[8],  # Portugal
        ],
        10: [len(d) == 10 and sum(w * x for w, x in zip((3, 7, 9, 0, 5, 8, 4, 2, 1, 6), d, strict=True)) % 11 == d[3]],
        11: [br_cpf(text) > 0, _germany(d), _turkey(d)],
        12: [in_aadhaar(text) > 0, _japan(d)],
    }
    return len(value) if any(checks.get(len(d), [])) and len(set(d)) > 1 else 0


def secret(value: str) -> int:
    """The length of a text that looks made by a machine or chosen as a password: letters and something else, 8 or more."""
    kinds = [any(map(test, value)) for test in (str.isalpha, str.isdigit)]
    mixed = all(kinds) or (kinds[0] and not value.isalnum() and re.search(r"[!$%^*@+=~]", value) is not None)
    placeholder = re.fullmatch(r"(?:x+|\*+|\.+|none|null|true|false|undefined|redacted)", value, re.IGNORECASE)
    return len(value) if mixed and len(set(value)) >= 4 and not placeholder else 0


CHECKS: dict[str, Callable[[str], int]] = {
    one.__name__: one
    for one in (
        *(luhn, card, iban, ipv6, phone, phone_groups, us_ssn, licence, uk_nino, es_dni, it_fiscal_code, fr_nir),
        *(dated_id, eleven_digits, ch_ahv, br_cpf, in_aadhaar, cn_id, sg_nric, id_announced, secret),
    )
}


def _digits(value: str) -> list[int]:
    return [ord(one) - 48 for one in value if "0" <= one <= "9"]


def _date(value: str) -> bool:
    """Whether a text begins as a calendar date does: 2026-03-02, 02.03.2026 or 2026 03 02."""
    whole = re.match(r"(?:19|20)\d\d([-/. ])(\d\d)\1(\d\d)(?!\d)", value)
    turned = re.fullmatch(r"(\d{1,2})([-/. ])(\d{1,2})\2(?:19|20)\d\d", value)
    if whole:
        return 1 <= int(whole[2]) <= 12 and 1 <= int(whole[3]) <= 31
    return bool(turned) and 1 <= int(turned[1]) <= 31 and 1 <= int(turned[3]) <= 31  # type: ignore[index]


def _day(digits: str, order: str) -> bool:
    parts = dict(zip(order, (int(digits[:2]), int(digits[2:4]), int(digits[4:6])), strict=True))
    return 1 <= parts["m"] <= 12 and 1 <= parts["d"] <= 31


def _weighted(digits: Sequence[int], weights: Sequence[int], modulus: int) -> bool:
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
