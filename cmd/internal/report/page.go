package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/cmd/internal/project"
)

// Beginning is how every page begins: a file that begins so was written by this package.
const Beginning = "<!DOCTYPE html>\n<!-- a report of tenon -->\n"

//go:embed page.html
var layout string

//go:embed style.css
var style string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"style": func() template.CSS { return template.CSS(style) },
}).Parse(layout))

// A page is what the layout shows.
type page struct {
	Title      string
	Heads      []head
	Notes      []note
	Metrics    *table
	Tables     []*table // that follow: confusion, classes, segments, ...
	About      string   // what the figures show
	Figures    []figure
	Timeline   []figure // over the same time, one below the other
	Classes    []classFigures
	Confusions []*table
	Changed    []*table // between the two
	Units      []unitView
	Lineage    *table
}

// A head names what the page is about, and how it looks where there are two.
type head struct {
	Side  int
	Name  string
	Facts *table
}

// A unitView is everything about one unit.
type unitView struct {
	Name   string
	Tables []*table
	Open   bool
}

// Page draws the report on a unit or an entity.
func Page(r *project.Report) ([]byte, error) {
	p := &page{Title: r.Name, Heads: []head{{0, "", headFacts(r)}}, Lineage: lineageTable(r.Lineage)}
	if u := r.Evaluated(); u != nil {
		p.evaluations([]side{{Evaluation: u.Evaluation}})
		p.Metrics = metricsTable(u.Evaluation)
	}
	for _, u := range r.Units {
		if u.Monitor != nil {
			if err := p.monitor(u.Monitor); err != nil {
				return nil, err
			}
		}
		p.Units = append(p.Units, unitView{u.Unit, unitTables(u), len(r.Units) == 1})
	}
	return p.html()
}

// Comparison draws two reports side by side.
func Comparison(c *project.Compared) ([]byte, error) {
	p := &page{Title: fmt.Sprintf("%s: %s and %s", c.Name, c.Before.At(), c.After.At())}
	var sides []side
	for i, r := range []*project.Report{c.Before, c.After} {
		p.Heads = append(p.Heads, head{i, r.At(), headFacts(r)})
		if u := r.Evaluated(); u != nil {
			sides = append(sides, side{i, r.At(), u.Evaluation})
		}
	}
	if len(sides) == 2 && !c.SameRows {
		p.Notes = append(p.Notes, note{-1, "", "The two were evaluated on different test rows: their metrics differ for that reason too."})
	}
	p.Metrics = changesTable(c)
	p.evaluations(sides)
	p.Changed = changedTables(c)
	return p.html()
}

// evaluations adds what evaluations have besides their metrics.
func (p *page) evaluations(sides []side) {
	var detailed []side
	for _, s := range sides {
		for _, n := range s.Notes {
			p.Notes = append(p.Notes, s.note("%s", n))
		}
		if s.Details != nil {
			detailed = append(detailed, s)
		}
	}
	if len(detailed) == 0 {
		return
	}
	if detailed[0].Details.Task == "regression" {
		p.About, p.Figures = "Predictions", regression(detailed)
	} else {
		p.Classes = byClass(detailed)
		for _, s := range detailed {
			p.Confusions = append(p.Confusions, confusionTable(s))
		}
		p.Tables = append(p.Tables, classesTable(detailed))
	}
	p.Tables = append(p.Tables, quantilesTable(detailed), importancesTable(detailed))
	p.Tables = append(p.Tables, segmentTables(detailed)...)
}

func (p *page) html() ([]byte, error) {
	b := bytes.NewBufferString(Beginning)
	if err := pageTemplate.Execute(b, p); err != nil {
		return nil, fmt.Errorf("draw the page of %s: %w", p.Title, err)
	}
	return b.Bytes(), nil
}

func headFacts(r *project.Report) *table {
	t := &table{}
	t.fact("system", r.System)
	if r.Revision > 0 {
		t.fact("revision", fmt.Sprintf("@%d, %s", r.Revision, moment(r.Started)))
	} else {
		t.fact("revision", "what is deployed")
	}
	t.fact("commit", r.Commit)
	if u := r.Evaluated(); u != nil {
		if u.Unit != r.Name {
			t.fact("evaluated by", u.Unit)
		}
		t.fact("run", runText(u.Run))
		for _, o := range u.Outputs {
			if o.Digest != "" {
				t.fact(o.Port, short(o.Digest))
			}
		}
		for _, in := range u.Inputs {
			t.fact("from "+in.Name, strings.TrimSpace(in.From+" "+short(in.Digest)))
		}
		if u.Evaluation.Rows > 0 {
			t.fact("test rows", fmt.Sprint(u.Evaluation.Rows))
		}
	}
	return t
}

func runText(r *project.RunFacts) string {
	if r == nil {
		return "not recorded, or removed by tenon gc"
	}
	return fmt.Sprintf("%s, took %s, in revision @%d", moment(r.Started), took(r.Took), r.Revision)
}

func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

func took(d time.Duration) string { return d.Round(time.Millisecond).String() }

// short abbreviates a digest.
func short(digest string) string {
	_, hex, ok := strings.Cut(digest, ":")
	if !ok {
		hex = digest
	}
	return hex[:min(len(hex), 12)]
}
