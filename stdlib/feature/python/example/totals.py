def transform(orders, least):
    totals = orders.groupby("customer", as_index=False).agg(total=("amount", "sum"))
    return totals[totals.total >= least]
