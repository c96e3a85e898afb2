package measure

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Rows are rows that are compared.
type Rows struct {
	// SQL is a name of a relation, or a SELECT, without parameters.
	SQL string
	// Parts, if there are any, have the same rows together. Then Columns are those of SQL.
	Parts   []Part
	Columns []Attribute
}

// A Part is some of the rows.
type Part struct {
	Key  string // names this content, which never changes, for a [Cache]; "" is not kept
	SQL  string // after FROM
	Rows int64  // or Uncounted
}

// Uncounted is the number of rows of a [Part] that has to be counted.
const Uncounted = -1

// An Attribute is a column of rows.
type Attribute struct {
	Name string
	Type string // DuckDB's name of it
	In   string // its value in the parts, in SQL
}

// A part is some of the rows of a relation.
type part struct {
	key, from string
	rows      int64
}

const (
	// valuesAtOnce is how many values of a side are read at once, at least those of one column.
	valuesAtOnce = 1 << 21
	// partsAtOnce and categoriesAtOnce are how many one query reads.
	partsAtOnce      = 64
	categoriesAtOnce = 32
)

// relation returns rows as a relation. what names them in errors.
func (r Rows) relation(ctx context.Context, db *sql.DB, what string) (relation, error) {
	if len(r.Parts) == 0 {
		return open(ctx, db, what, r.SQL)
	}
	all := relation{from: from(r.SQL)}
	for _, a := range r.Columns {
		all.columns = append(all.columns, attribute{name: a.Name, typ: a.Type, in: a.In})
	}
	for _, p := range r.Parts {
		all.parts = append(all.parts, part{p.Key, p.SQL, p.Rows})
	}
	return all, nil
}

// divided returns the parts of a relation, and how many rows they have.
func (r relation) divided(ctx context.Context, db *sql.DB) (parts []part, rows int64, err error) {
	parts = slices.Clone(r.parts)
	if len(parts) == 0 {
		parts = []part{{from: r.from, rows: Uncounted}}
	}
	for i := range parts {
		p := &parts[i]
		if p.rows == Uncounted {
			if err := db.QueryRowContext(ctx, "SELECT count(*) FROM "+p.from).Scan(&p.rows); err != nil {
				return nil, 0, err
			}
		}
		rows += p.rows
	}
	return parts, rows, nil
}

// A side is one side of a comparison.
type side struct {
	relation
	parts []part
	rows  int64
	nodes []*node // of the parts
}

func (d *drift) side(ctx context.Context, r relation) (s side, err error) {
	s.relation = r
	if s.parts, s.rows, err = r.divided(ctx, d.db); err == nil {
		s.nodes = tree(s.parts)
	}
	return s, err
}

// samples returns the samples of columns. A nil column has none.
func (d *drift) samples(ctx context.Context, s *side, columns []*attribute) ([]*sample, error) {
	found := make([]map[*node]*sample, len(columns))
	missing := map[int][]int{} // columns that have to be read, by part
	for i, a := range columns {
		if a == nil {
			continue
		}
		found[i] = map[*node]*sample{}
		for _, n := range s.nodes {
			n.missing(d.cache, a.value(), found[i], func(part int) { missing[part] = append(missing[part], i) })
		}
	}
	read := make([]map[int]*sample, len(columns)) // by part
	for i := range read {
		read[i] = map[int]*sample{}
	}
	for len(missing) > 0 {
		parts, which := alike(missing)
		if err := d.read(ctx, s, columns, parts, which, read); err != nil {
			return nil, err
		}
	}
	all := make([]*sample, len(columns))
	for i, a := range columns {
		if a != nil {
			all[i] = join(samples(s.nodes, d.cache, a.value(), found[i], read[i]))
		}
	}
	return all, nil
}

// alike takes some parts out of those that are missing, of which the same columns are read.
func alike(missing map[int][]int) (parts, columns []int) {
	for part, of := range missing {
		if columns == nil {
			columns = of
		}
		if len(parts) < partsAtOnce && slices.Equal(of, columns) {
			parts = append(parts, part)
		}
	}
	for _, part := range parts {
		delete(missing, part)
	}
	return parts, columns
}

// read reads columns of parts, numbers and times in one query, and categories in as few as possible.
func (d *drift) read(ctx context.Context, s *side, columns []*attribute, parts, which []int, into []map[int]*sample) error {
	var numbers, categories []int
	for _, i := range which {
		for _, p := range parts {
			into[i][p] = &sample{}
		}
		if kindOf(columns[i].typ) == category {
			categories = append(categories, i)
		} else {
			numbers = append(numbers, i)
		}
	}
	if len(numbers) > 0 {
		if err := d.readNumbers(ctx, s, columns, parts, numbers, into); err != nil {
			return err
		}
	}
	for some := range slices.Chunk(categories, categoriesAtOnce) {
		if err := d.readCategories(ctx, s, columns, parts, some, into); err != nil {
			return err
		}
	}
	return nil
}

// union is a query for the values of columns, beside the number of their part. A value has the name of its place.
func (s *side) union(columns []*attribute, parts, which []int) string {
	selects := make([]string, len(which))
	for k, i := range which {
		selects[k] = fmt.Sprintf("%s AS x%d", columns[i].value(), k)
	}
	all := make([]string, len(parts))
	for k, p := range parts {
		all[k] = fmt.Sprintf("SELECT CAST(%d AS INTEGER) AS part, %s FROM %s", p, strings.Join(selects, ", "), s.parts[p].from)
	}
	return strings.Join(all, " UNION ALL ")
}

func (d *drift) readNumbers(ctx context.Context, s *side, columns []*attribute, parts, which []int, into []map[int]*sample) error {
	of := make(map[int32][]*sample, len(parts))
	for _, p := range parts {
		for _, i := range which {
			x := into[i][p]
			x.ordered = make([]float64, 0, s.parts[p].rows)
			of[int32(p)] = append(of[int32(p)], x)
		}
	}
	err := each(ctx, d.db, s.union(columns, parts, which), func(row []driver.Value) error {
		part, _ := row[0].(int32)
		for k, x := range of[part] {
			switch v := row[k+1].(type) {
			case nil:
				continue
			case float64:
				if x.filled++; !math.IsNaN(v) && !math.IsInf(v, 0) {
					x.ordered = append(x.ordered, v+0) // -0 becomes 0
				}
			default:
				return fmt.Errorf("column %q: %T instead of a number", columns[which[k]].name, v)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, all := range of {
		for _, x := range all {
			sortFloats(x.ordered)
		}
	}
	return nil
}

func (d *drift) readCategories(ctx context.Context, s *side, columns []*attribute, parts, which []int, into []map[int]*sample) error {
	names, sets := make([]string, len(which)), make([]string, len(which))
	for k := range which {
		names[k] = fmt.Sprintf("x%d", k)
		sets[k] = fmt.Sprintf("(part, x%d)", k)
	}
	list := strings.Join(names, ", ")
	// The bit of GROUPING is 0 for the column of a group; that of the last column is the lowest.
	query := fmt.Sprintf("SELECT part, CAST(GROUPING(%s) AS BIGINT), coalesce(%s), count(*) FROM (%s) GROUP BY GROUPING SETS (%s)", list, list, s.union(columns, parts, which), strings.Join(sets, ", "))
	at := map[int64]int{}
	for k, i := range which {
		at[1<<len(which)-1-1<<(len(which)-1-k)] = i
	}
	return each(ctx, d.db, query, func(row []driver.Value) error {
		part, ok := row[0].(int32)
		group, known := row[1].(int64)
		n, counted := row[3].(int64)
		if !ok || !known || !counted {
			return fmt.Errorf("a count of categories has the types %T, %T and %T", row[0], row[1], row[3])
		}
		if v, ok := row[2].(string); ok { // NULL is no category
			x := into[at[group]][int(part)]
			x.filled += n
			x.count(v, n)
		}
		return nil
	})
}
