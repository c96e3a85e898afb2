"""A page about the estimates, as Markdown."""


def main(step):
    cars, estimates = step.table("cars"), step.table("estimates")
    lines = ["# Cars", "", "| origin | cars | miles per gallon |", "|---|---|---|"]
    for origin, group in cars.groupby("origin"):
        lines.append(f"| {origin} | {len(group)} | {group.miles_per_gallon.mean():.1f} |")
    low, high = estimates.prediction.min(), estimates.prediction.max()
    lines += ["", f"{len(estimates)} cars were not measured; the model puts them between {low:.1f} and {high:.1f}."]
    step.output("summary").path.write_text("\n".join(lines) + "\n")
