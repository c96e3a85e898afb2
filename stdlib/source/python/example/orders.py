def load(count):
    for i in range(count):
        yield {"id": i, "amount": i * 2.5, "note": None if i % 2 else f"order {i}"}
