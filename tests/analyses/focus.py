"""A validator of FOCUS rows, driven by the published column model."""

import json
import re
from decimal import Decimal, InvalidOperation

import pandas as pd

DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
UNIT = re.compile(r"(\d+ )?[A-Z][A-Za-z0-9]*(s|-Hours)")
WITH_SKU = ("SkuPriceDetails", "SkuMeter", "SkuPriceId")


def problems(table: pd.DataFrame, model: dict) -> list[str]:
    """What is wrong with rows read as text ("" is null), one sentence each; none for valid rows."""
    columns = model["datasets"]["Cost and Usage"]["columns"]
    columns = columns if isinstance(columns, dict) else {one["id"]: one for one in columns}
    found = [f"{name} is mandatory and missing" for name, one in columns.items()
             if one["feature_level"] == "Mandatory" and name not in table]  # fmt: skip
    for name in table:
        if name not in columns:
            found += [] if name.startswith("x_") else [f"{name} is no column of FOCUS and has no x_"]
            continue
        about, values = columns[name], table[name]
        if not about["allows_nulls"] and (values == "").any():
            found.append(f"{name} has nulls")
        for value in values[values != ""].unique():
            found += [f"{name}: {wrong}" for wrong in _wrong(str(value), about)]
    if not found:
        found += _together(table, model)
    return found


def _wrong(value: str, about: dict) -> list[str]:
    kind, form = about["data_type"], about["value_format"]
    if about["allowed_values"] and value not in about["allowed_values"]:
        return [f"{value!r} is not allowed"]
    if kind == "Decimal":
        try:
            number = Decimal(value)
        except InvalidOperation:
            return [f"{value!r} is no decimal"]
        return [f"{value!r} is negative"] if number < 0 and "non-negative" in form else []
    if kind == "Date/Time" and not DATE.fullmatch(value):
        return [f"{value!r} is no UTC time"]
    if form == "Currency" and not re.fullmatch("[A-Z]{3}", value):
        return [f"{value!r} is no currency"]
    if form == "Unit" and not UNIT.fullmatch(value):
        return [f"{value!r} is no unit"]
    if kind == "JSON":
        told = json.loads(value)
        if not isinstance(told, dict):
            return [f"{value!r} is no JSON object"]
        if about["display_name"] == "SKU Price Details":
            return [f"key {key!r} has no x_" for key in told if not key.startswith("x_")]
    return []


def _together(table: pd.DataFrame, model: dict) -> list[str]:
    """Rules between columns."""
    found = []
    for row in table.to_dict("records"):
        for cost, price in (("ListCost", "ListUnitPrice"), ("ContractedCost", "ContractedUnitPrice")):
            if row.get(price) and Decimal(row[cost]) != Decimal(row[price]) * Decimal(row["PricingQuantity"]):
                found.append(f"{cost} is not {price} x PricingQuantity")
        if not row["ChargePeriodStart"] < row["ChargePeriodEnd"]:
            found.append("the charge period is empty")
        if not row["BillingPeriodStart"] <= row["ChargePeriodStart"] < row["BillingPeriodEnd"]:
            found.append("the charge is outside its billing period")
        parent = model["service_subcategory_parents"].get(row.get("ServiceSubcategory") or "")
        if parent and parent != row["ServiceCategory"]:
            found.append(f"ServiceCategory should be {parent}")
        if row["ChargeCategory"] == "Usage" and row["ChargeClass"] == "" and not row.get("PricingCategory", "x"):
            found.append("PricingCategory is null for usage")
        for one in WITH_SKU:
            if row.get(one) and not row.get("SkuId"):
                found.append(f"{one} without a SkuId")
        if bool(row.get("ConsumedQuantity")) != bool(row.get("ConsumedUnit")):
            found.append("ConsumedQuantity and ConsumedUnit go together")
    return found
