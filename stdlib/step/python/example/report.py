import os


def main(step, factor):
    assert os.environ["TOKEN"]
    orders = step.table("orders")
    step.progress(1, 2, "read the orders")
    step.write_table("doubled", orders.assign(amount=orders.amount * factor))
    step.output("summary").path.write_text(f"{len(orders)} orders\n")
    step.progress(2, 2)
