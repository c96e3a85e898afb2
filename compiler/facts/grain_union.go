package facts

import "slices"

// repeatedly gives the result of a recursive query its grain. Any step may repeat a row.
func (a *analysis) repeatedly(q *query, all *relation) {
	one := row{attr: a.attr(), kind: RepeatedByUnion, offset: all.at}
	g := &grain{rows: []row{one}}
	var attrs []int
	for i := range all.Columns {
		all.Columns[i].attr, all.Columns[i].direct, all.Columns[i].tag = a.attr(), false, nil
		attrs = append(attrs, all.Columns[i].attr)
	}
	g.depends([]int{one.attr}, attrs...)
	if !q.all {
		g.depends(attrs, one.attr)
	}
	g.unclear()
	all.grain = g
}

// unites gives the result of a set operation its grain. parts are its arms, with their
// columns in the order of the result.
func (a *analysis) unites(q *query, all *relation, parts []relation) {
	if q.setop == "EXCEPT" || q.setop == "INTERSECT" {
		all.grain = parts[0].grain
		var attrs []int
		for i := range all.Columns {
			all.Columns[i].attr = parts[0].Columns[i].attr
			attrs = append(attrs, all.Columns[i].attr)
		}
		g := &grain{selective: true}
		g.add(all.grain)
		if !q.all {
			g.depends(attrs, g.rowAttrs()...)
		}
		all.grain = g
		return
	}
	one := row{attr: a.attr(), kind: RepeatedByUnion, offset: -1}
	g := &grain{}
	attrs := make([]int, len(all.Columns))
	for i := range attrs {
		attrs[i] = a.attr()
		one.columns = append(one.columns, named{all.Columns[i].Name, attrs[i]})
	}
	g.depends([]int{one.attr}, attrs...)
	if !q.all {
		g.depends(attrs, one.attr)
	}
	var apart []int // columns that tell the arms apart
	for i := range attrs {
		tags := map[string]bool{}
		plain := true
		for _, p := range parts {
			c := p.Columns[i]
			if c.tag != nil {
				tags[c.tag.Text] = true
			}
			plain = plain && c.direct && !c.Domain.bounds()
		}
		if len(tags) == len(parts) {
			apart = append(apart, i)
		}
		if !plain {
			g.may([]int{attrs[i]}, one.attr)
		}
		all.Columns[i].direct, all.Columns[i].tag = plain, nil
	}
	certain := !q.byName && !q.sampled
	keys := [][]int{{}}
	for n, p := range parts {
		if one.offset < 0 || n == 1 {
			one.offset = p.at
		}
		own := make([]int, len(attrs))
		for i, c := range p.Columns {
			own[i] = c.attr
		}
		one.parts = append(one.parts, part{p.grain, own})
		none := p.grain.closure(nil, possible)
		g.selective = g.selective || p.grain.selective
		certain = certain && !slices.ContainsFunc(p.grain.rows, func(r row) bool { return r.keyless }) && len(p.grain.conditions) == 0 && !slices.ContainsFunc(p.grain.rowAttrs(), func(r int) bool { return none[r] }) &&
			!slices.ContainsFunc(p.grain.dependencies, func(d dependency) bool { return d.pin })
		if len(apart) == 0 {
			continue
		}
		var both [][]int
		for _, k := range keys {
			for _, o := range p.grain.keys(own) {
				u := slices.Concat(k, o)
				slices.Sort(u)
				both = append(both, slices.Compact(u))
			}
		}
		keys = both[:min(len(both), 8)]
	}
	for _, d := range apart {
		for _, k := range keys {
			from := []int{attrs[d]}
			for _, i := range k {
				from = append(from, attrs[i])
			}
			g.depends(from, one.attr)
		}
	}
	for i := range all.Columns {
		all.Columns[i].attr = attrs[i]
	}
	g.rows = []row{one}
	if !certain {
		g.unclear()
	}
	a.limits(q, g)
	all.grain = g
}
