"""What an expression cannot know of personal data: checksums, dates and lengths. National numbers are in redact_ids.

A check takes what a rule's pattern matched, as ASCII text, and gives how many of its first characters are true; 0 for
none. It may give fewer than all, where a pattern ran on into the next word.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from itertools import pairwise

from workbench.tables import redact_ids as ids
from workbench.tables.redact_ids import digits_of, luhn

# Issuers of payment cards by their first digits, with the lengths in use (ISO/IEC 7812; network specifications).
CARDS: tuple[tuple[str, tuple[int, ...]], ...] = (
    (r"4", (13, 16, 19)),
    (r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720", (16,)),
    (r"3[47]", (15,)),
    (r"30[0-5]|3095|3[689]", (14, 16, 17, 18, 19)),
    (r"35", (16, 17, 18, 19)),
    (r"1800|2131", (15,)),
    (r"9792", (16,)),
    (r"0604|50(?:18|20|38)|5893|6304|6390|67(?:59|6[1-3])", (12, 13, 14, 15, 16, 17, 18, 19)),
    (r"6[0-9]|5[06-8]|8[12]", (16, 17, 18, 19)),
    (r"220[0-4]", (16, 17, 18, 19)),
)
CARD = re.compile("|".join(f"(?P<n{i}>{prefix})" for i, (prefix, _) in enumerate(CARDS)))
GROUPED = re.compile(r"\d{4}([ .-])\d{4}\1\d{4}\1\d{1,4}(?:\1\d{3})?(?!\d)|\d{4}([ -])\d{6}\2\d{4,5}(?!\d)")
# Lengths of an IBAN by country (the registry of ISO 13616).
IBAN_LENGTHS = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24 "
    "FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 "
    "LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 "
    "RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30"
)
PLACES = {one: str(k) for k, one in enumerate("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")}
IBAN = {one[:2]: int(one[2:]) for one in IBAN_LENGTHS.split()}


def card(value: str) -> int:
    """The length of a payment card's number at the start: a known issuer, its length, the usual groups, Luhn."""
    plain = len(value) - len(value.lstrip("0123456789"))
    grouped = GROUPED.match(value)
    for end in [grouped.end()] if grouped else [plain] if plain == len(value) or value[plain] in " .-" else []:
        digits = re.sub(r"\D", "", value[:end])
        issuer = CARD.match(digits)
        known = issuer and issuer.lastgroup and len(digits) in CARDS[int(issuer.lastgroup[1:])][1]
        if known and luhn(digits) and len(set(digits)) > 1 and not (len(digits) == 13 and ids.ean(digits)):
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
    """The length of an IPv6 address; a path of names or a range of steps (`a::b`, `1::2`) is none."""
    try:
        ipaddress.IPv6Address(value)
    except ValueError:
        return 0
    sure = value == "::1" or "." in value or value.count(":") > 3 or re.search(r"[0-9A-Fa-f]{3}", value)
    return len(value) if sure and re.search(r"\d", value) else 0


def phone(value: str) -> int:
    """The length of a text of 7 to 15 digits (ITU-T E.164) before an extension: no date, no run of steps, no rounded number."""
    number = re.split(r" ?(?:x|e)", value.removeprefix("%2B"), maxsplit=1)[0]
    digits = digits_of(number)
    good = 7 <= len(digits) <= 15 and len(set(digits)) > 1 and digits[:3] != [0, 0, 0] and digits[-6:] != [0] * 6
    if not good or _date(number) or re.search(r" -\d|^00\d{1,3}[ .-]0|^\((?:19|20)\d\d\) ?\d{4}$", number):
        return 0
    if value[0] == "+" and re.fullmatch(r"\+\d{7,8}|\+\d+\.\d{1,3}", number):
        return 0  # a signed number
    groups = [int(one) for one in re.split(r"\D+", number) if one]
    steps = len(groups) > 3 and len({b - a for a, b in pairwise(groups)}) == 1
    return 0 if steps else len(value)


def phone_groups(value: str) -> int:
    """As `phone`, for the less certain forms: no date, no time, no decimal number, and eight digits unless as 555-0143."""
    if re.fullmatch(r"\d+\.\d+", value) or re.match(r"\d{1,3}(?:\.\d{1,3}){3}$", value):
        return 0
    return phone(value) if len(digits_of(value)) > 7 or re.fullmatch(r"\d{3}[ .-]\d{4}", value) else 0


def secret(value: str) -> int:
    """The length of a text that looks made by a machine or chosen as a password: letters and something else, 8 or more."""
    kinds = [any(map(test, value)) for test in (str.isalpha, str.isdigit)]
    mixed = all(kinds) or (kinds[0] and not value.isalnum() and re.search(r"[!$%^*@+=~]", value) is not None)
    placeholder = re.fullmatch(
        r"x+|\*+|\.+|none|null|true|false|undefined|redacted|(?-i:\$[A-Z_]+|%[A-Z_]+%)|[~.]{0,2}(?:/[a-z0-9_.-]+){2,}/?",
        value, re.IGNORECASE,
    )  # fmt: skip
    return len(value.rstrip(".:")) if mixed and len(set(value)) >= 4 and not placeholder else 0


def token(value: str) -> int:
    """The length of a token of a known provider: it has a digit, or letters of both cases."""
    text = value.rstrip(".")
    return len(text) if re.search(r"\d|[a-z].*[A-Z]|[A-Z].*[a-z]", text[4:]) and len(set(text[4:])) >= 4 else 0


CHECKS: dict[str, Callable[[str], int]] = {
    one.__name__: one
    for one in (
        *(luhn, card, iban, ipv6, phone, phone_groups, secret, token),
        *(ids.us_ssn, ids.licence, ids.uk_nino, ids.es_dni, ids.it_fiscal_code, ids.fr_nir, ids.dated_id, ids.cn_id),
        *(ids.eleven_digits, ids.ch_ahv, ids.br_cpf, ids.br_cnpj, ids.in_aadhaar, ids.sg_nric, ids.mx_curp, ids.cl_rut),
        *(ids.ar_cuit, ids.ru_snils, ids.lv_code, ids.hk_id, ids.tw_id, ids.th_id, ids.my_nric, ids.id_announced),
    )
}


def _date(value: str) -> bool:
    """Whether a text begins as a calendar date does: 2026-03-02, 02.03.2026 or 2026 03 02."""
    whole = re.match(r"(?:19|20)\d\d([-/. ])(\d\d)\1(\d\d)(?!\d)", value)
    turned = re.fullmatch(r"(\d{1,2})([-/. ])(\d{1,2})\2(?:19|20)\d\d", value)
    if whole:
        return 1 <= int(whole[2]) <= 12 and 1 <= int(whole[3]) <= 31
    return bool(turned) and 1 <= int(turned[1]) <= 31 and 1 <= int(turned[3]) <= 31  # type: ignore[index]
