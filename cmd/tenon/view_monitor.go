package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/stdlib/monitor/measure"
)

// printFigures prints figures as a table: all of them, or those that are not ok.
func (a *app) printFigures(figures []measure.Figure, all bool) error {
	t := table(a.stdout)
	fmt.Fprintln(t, "  FIGURE\tVALUE\tREFERENCE\tP\tLIMIT\tVERDICT")
	shown := 0
	for _, f := range figures {
		if !all && f.Verdict != measure.Alert && f.Verdict != measure.Warn {
			continue
		}
		shown++
		value := figureNumber(f.Value)
		if f.Lower != nil && f.Upper != nil {
			value += fmt.Sprintf(" (%s to %s)", number(*f.Lower), number(*f.Upper))
		}
		verdict := string(f.Verdict)
		if f.Reason != "" && (f.Value == nil || f.Verdict == measure.Unknown) {
			verdict += ": " + f.Reason
		}
		p := f.PAdj
		if p == nil {
			p = f.P
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s\t%s\n", printable(figureName(&f)), value, figureNumber(f.Reference), figureNumber(p), limitOf(&f), printable(verdict))
	}
	if shown == 0 {
		return nil
	}
	return t.Flush()
}

// figureName names a figure: "temp ks", "temp nulls (origin JFK)", "roc_auc".
func figureName(f *measure.Figure) string {
	name := f.Name
	if f.Name == measure.FigureDrift {
		name = f.Test
	}
	name = strings.TrimSpace(f.Column + " " + name)
	if len(f.Segment) == 0 {
		return name
	}
	return name + " (" + segmentName(f.Segment) + ")"
}

// segmentName names a segment: "origin JFK, hour 7".
func segmentName(values map[string]string) string {
	var parts []string
	for _, column := range slices.Sorted(maps.Keys(values)) {
		parts = append(parts, column+" "+values[column])
	}
	return strings.Join(parts, ", ")
}

func figureNumber(v *float64) string {
	if v == nil {
		return "-"
	}
	return number(*v)
}

// limitOf describes the limits of a figure.
func limitOf(f *measure.Figure) string {
	switch {
	case f.Min != nil && f.Max != nil:
		return number(*f.Min) + " to " + number(*f.Max)
	case f.Min != nil:
		return "≥ " + number(*f.Min)
	case f.Max != nil:
		return "≤ " + number(*f.Max)
	}
	return "-"
}

// writeText prints a text, or replaces a file with it.
func (a *app) writeText(path, text string) error {
	if path == "" {
		_, err := fmt.Fprint(a.stdout, text)
		return err
	}
	if err := files.Write(path, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
