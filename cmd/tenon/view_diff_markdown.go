package main

import (
	"fmt"
	"html"
	"strings"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/planner"
)

// printDiffMarkdown prints a diff for GitHub and GitLab: breaking changes first, a table
// for each section, long texts folded.
func (a *app) printDiffMarkdown(d *project.Diff) error {
	var b strings.Builder
	fmt.Fprintf(&b, "### %s: %s → %s\n\n", markdownText(diffTitle(d)), markdownCode(d.Before.Name), markdownCode(d.After.Name))
	if d.Same() {
		b.WriteString("Nothing differs.\n")
		_, err := fmt.Fprint(a.stdout, b.String())
		return err
	}
	b.WriteString(strings.TrimPrefix(diffSummary(d.Comparison), "Diff: ") + "\n")
	if s := systemsDiffer(d); s != "" {
		b.WriteString("\n" + s + "\n")
	}
	quote := "\n> [!WARNING]\n"
	for _, c := range breakingChanges(d.Comparison) {
		what := markdownCode(c.entity) + " is removed"
		if c.field != "" {
			what = markdownCode(c.entity) + " " + markdownCode(c.field)
		}
		fmt.Fprintf(&b, "%s> - %s: %s\n", quote, what, markdownText(breaksWhom(c.effect)))
		quote = ""
	}
	section, seen := "", repeats{}
	var folded []string
	end := func() {
		for _, f := range folded {
			b.WriteString("\n" + f)
		}
		folded = nil
	}
	for _, e := range d.Entities {
		if e.Section() != section {
			end()
			section = e.Section()
			fmt.Fprintf(&b, "\n#### %s\n\n| | field | before | after | |\n|---|---|---|---|---|\n", section)
		}
		folded = append(folded, writeMarkdownEntity(&b, e, seen)...)
		if lines := columnLines(d.Columns[e.Entity]); len(lines) > 0 {
			folded = append(folded, fmt.Sprintf("%s %s\n", markdownCode(e.Entity), markdownText(strings.Join(lines, "; "))))
		}
	}
	end()
	if rows := impactRows(d.Impact); len(rows) > 0 {
		b.WriteString("\n#### As a consequence\n\n")
		for _, r := range rows {
			var names []string
			for _, n := range r.names {
				if strings.Contains(n, "/") {
					n = markdownCode(n)
				}
				names = append(names, n)
			}
			fmt.Fprintf(&b, "- **%s** %s\n", r.what, strings.Join(names, ", "))
		}
	}
	fmt.Fprintf(&b, "\n%s\n", impactTime(d.Impact))
	_, err := fmt.Fprint(a.stdout, b.String())
	return err
}

// writeMarkdownEntity writes the rows of an entity and returns what to fold below the
// table.
func writeMarkdownEntity(b *strings.Builder, e planner.EntityChange, seen repeats) (folded []string) {
	row := func(cells ...string) { fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | ")) }
	name := fmt.Sprintf("%s %s", changeMarks[e.Change].mark, markdownCell(e.Entity))
	if note := entityNote(e); note != "" {
		name += " " + markdownText(note)
	}
	if len(e.Fields) == 0 {
		row(name, string(e.Change), "", "", markdownEffect(e.Effect))
	}
	for i, f := range e.Fields {
		if i > 0 {
			name = ""
		}
		before, after := fieldValues(f)
		before, after = markdownCell(before), markdownCell(after)
		first := seen.before(e.Entity, f)
		switch {
		case first != "":
			after += " as in " + markdownCell(first)
		case f.Lines != "":
			if !isCode(f) {
				before, after = "", "see below"
			}
			fence := strings.Repeat("`", max(3, backticks(f.Lines)+1))
			folded = append(folded, fmt.Sprintf("<details><summary><code>%s</code> <code>%s</code></summary>\n\n%sdiff\n%s%s\n\n</details>\n",
				html.EscapeString(e.Entity), html.EscapeString(printable(f.Field)), fence, f.Lines, fence))
		}
		row(name, markdownCell(f.Field), before, after, markdownEffect(f.Effect))
	}
	return folded
}

func markdownEffect(e *planner.Effect) string {
	switch {
	case e == nil:
		return ""
	case e.Breaking:
		return "**" + markdownText(breaksWhom(e)) + "**"
	}
	return "compatible"
}

// markdownCell is code in a table, where a bar ends the cell even so.
func markdownCell(s string) string { return strings.ReplaceAll(markdownCode(s), "|", `\|`) }

// markdownCode is text as code, regardless of its content.
func markdownCode(s string) string {
	if s == "" {
		return ""
	}
	s = printable(strings.Join(strings.Fields(s), " "))
	fence := strings.Repeat("`", backticks(s)+1)
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") {
		s = " " + s + " "
	}
	return fence + s + fence
}

// backticks returns the length of the longest run of backticks.
func backticks(s string) int {
	longest, run := 0, 0
	for _, r := range s {
		if r == '`' {
			run++
		} else {
			run = 0
		}
		longest = max(longest, run)
	}
	return longest
}

// markdownText is text in which nothing means anything to Markdown.
func markdownText(s string) string {
	return strings.NewReplacer("\\", `\\`, "`", "\\`", "|", `\|`, "*", `\*`, "_", `\_`, "<", "&lt;", "[", `\[`).Replace(s)
}
