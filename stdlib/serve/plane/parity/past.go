package parity

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/duration"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/events"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requestlog"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/table"
)

// A past computes rows of requests that have a history. Training computes all rows of a table at
// once, so a row of a request is put into the table that training would have had: the rows of the
// source, and the events that the service had at that moment. Of these, only those of the same
// PARTITION BY matter. Rows with different ones are computed together.
type past struct {
	*training
	events   ir.Schema // columns of an event
	at       []int     // of each column of the source, where an event has it, or -1
	by       []int     // columns of the source in PARTITION BY of all windows
	identity []int     // columns of the source that are its keys
	log      events.Kept
	// Of a log whose beginning was dropped, and is not in the source, rows of requests that reach
	// back before a time are not computed.
	dropped bool
	reach   rowsql.Reach
}

// mostTogether is how many rows are computed at once, unless those of one request are more.
const mostTogether = 200_000

// mostAlone is how many rows are computed alone as well, to see that they keep their keys.
const mostAlone = 5

// errNoKeys says why rows of requests cannot be found among those of their history.
var errNoKeys = errors.New("features over a history are replayed if they have keys, which are keys of the source, or columns of it: otherwise the row of a request is not found among those of its history")

// remember prepares rows with a history.
func (t *training) remember() (*past, error) {
	if t.keys == nil {
		return nil, errNoKeys
	}
	p := &past{training: t, events: t.spec.History.Columns}
	for _, c := range t.source {
		p.at = append(p.at, place(p.events, c.Name))
	}
	for _, name := range t.spec.History.Keys {
		i := place(t.source, name)
		if i < 0 {
			return nil, fmt.Errorf("the source has no column %s, which is a key", name)
		}
		p.identity = append(p.identity, i)
	}
	if plan := t.spec.Plans[0]; plan.Windows() > 0 { // of later ones, it is not known where the source has the column
		p.reach = plan.Reach()
		for _, name := range p.reach.Partition {
			if i := place(t.source, name); i >= 0 && t.given[i] >= 0 {
				p.by = append(p.by, i)
			}
		}
	}
	return p, p.begins(context.Background())
}

// begins finds out which log there is, and whether the source has what was dropped of it.
func (p *past) begins(ctx context.Context) error {
	var err error
	if p.log, err = events.Look(p.Kept); err != nil || p.log.From == 0 {
		return err
	}
	p.dropped = true
	i := place(p.source, p.log.Time)
	if i < 0 || p.source[i].Type != p.log.Type {
		return nil
	}
	f, err := table.Open(p.Source.Path, p.source)
	if err != nil {
		return err
	}
	defer f.Close()
	late := p.units(duration.Parse(p.spec.History.Late).Microseconds())
	for b := new(table.Batch); ; {
		err := f.Read(ctx, b, batch)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		for n := range b.Len() {
			if v := b.Row(n)[i]; !v.Null && v.Int()-late >= p.log.Before {
				p.dropped = false
				return nil
			}
		}
	}
}

// units are microseconds in the unit of the times of the log.
func (p *past) units(micros int64) int64 {
	const day = 86_400_000_000
	if p.log.Type == "date" {
		return (micros + day - 1) / day
	}
	return micros
}

// placed reports whether rows of a file of requests say which events of this log they had.
func (p *past) placed(h *requestlog.Head) bool {
	return p == nil || h.History && (h.Events == "" || h.Events == p.log.Name)
}

// has reports whether the events that a request had are there.
func (p *past) has(request []rowsql.Value) bool {
	if p == nil || !p.dropped {
		return true
	}
	i := place(p.spec.Columns, p.log.Time)
	return i >= 0 && p.reach.Time == p.log.Time && !p.reach.Every && request[i].Int()-p.units(p.reach.Micros) >= p.log.Before
}

// A group is the rows of the source and the events with the same PARTITION BY.
type group struct {
	events [][]rowsql.Value // as rows of the source, in the order of the log
	number []int64          // of each event in the log
	rows   [][]rowsql.Value // of the source
}

func (p *past) keyOf(columns []int, full []rowsql.Value) string {
	var b []byte
	for _, i := range columns {
		b = appendKey(b, p.source[i].Type, full[i])
	}
	return string(b)
}

// compute computes rows, each with the events before a position of the log, and returns the given
// columns of what training makes of each.
func (p *past) compute(ctx context.Context, rows [][]rowsql.Value, positions []int64, columns ir.Schema) ([]trained, error) {
	groups, of := map[string]*group{}, make([]*group, len(rows))
	for i, row := range rows {
		key := p.keyOf(p.by, p.filled(row, p.donors[0], 0))
		if groups[key] == nil {
			groups[key] = &group{}
		}
		of[i] = groups[key]
	}
	if err := p.read(ctx, groups, slices.Max(positions)); err != nil {
		return nil, err
	}
	results, left := make([]trained, len(rows)), make([]int, len(rows))
	for i := range rows {
		left[i] = i
	}
	for n, donor := range p.donors {
		if len(left) == 0 || n > 0 && !p.spec.Drops {
			break
		}
		for _, batch := range p.apart(left, of) {
			if err := p.batch(ctx, rows, positions, of, batch, donor, columns, results); err != nil {
				return nil, err
			}
		}
		left = slices.DeleteFunc(left, func(i int) bool { return results[i].values != nil || results[i].rows > 1 || results[i].says != "" })
	}
	return results, nil
}

// read reads the rows and events of groups.
func (p *past) read(ctx context.Context, groups map[string]*group, position int64) error {
	f, err := table.Open(p.Source.Path, p.source)
	if err != nil {
		return err
	}
	defer f.Close()
	var b table.Batch
	for {
		err := f.Read(ctx, &b, batch)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		for i := range b.Len() {
			if g := groups[p.keyOf(p.by, b.Row(i))]; g != nil {
				g.rows = append(g.rows, slices.Clone(b.Row(i)))
			}
		}
	}
	if position == 0 { // so a service that takes no events needs no log
		return nil
	}
	return events.Read(ctx, p.Kept, p.events, func(number int64, event []rowsql.Value) error {
		if number >= position {
			return nil
		}
		full := make([]rowsql.Value, len(p.source))
		for i, from := range p.at {
			if full[i] = p.donors[0][i]; from >= 0 {
				full[i] = event[from]
			}
		}
		if g := groups[p.keyOf(p.by, full)]; g != nil {
			g.events, g.number = append(g.events, full), append(g.number, number)
		}
		return nil
	})
}

// apart divides rows so that those of a batch belong to different groups.
func (p *past) apart(all []int, of []*group) (batches [][]int) {
	often, size := map[*group]int{}, []int{}
	for _, i := range all {
		g := of[i]
		n := often[g]
		for rows := len(g.events) + len(g.rows) + 1; ; n++ {
			if n == len(batches) {
				batches, size = append(batches, nil), append(size, 0)
			}
			if size[n] == 0 || size[n]+rows <= mostTogether {
				size[n] += rows
				break
			}
		}
		batches[n], often[g] = append(batches[n], i), n+1
	}
	return batches
}

// passesKeys reports whether the features of a row have the keys of the row, by which it is found.
// A row alone shows it.
func (p *past) passesKeys(ctx context.Context, full []rowsql.Value) (bool, error) {
	last := p.Queries[len(p.Queries)-1].Step.Outputs["out"].Schema
	var columns ir.Schema
	for _, i := range p.keys {
		columns = append(columns, last[place(last, p.source[i].Name)])
	}
	made, _, err := p.run(ctx, [][]rowsql.Value{full}, columns)
	if err != nil || len(made) != 1 {
		return err == nil, err
	}
	for n, i := range p.keys {
		if !equal(columns[n].Type, made[0][n], full[i]) {
			return false, nil
		}
	}
	return true, nil
}

// batch computes rows of different groups at once.
func (p *past) batch(ctx context.Context, rows [][]rowsql.Value, positions []int64, of []*group, batch []int, donor []rowsql.Value, columns ir.Schema, results []trained) error {
	var all [][]rowsql.Value
	index, others := map[string]int{}, map[string]bool{}
	for _, i := range batch {
		all = p.known(all, of[i], positions[i], rows[i])
	}
	for _, row := range all {
		others[p.keyOf(p.keys, row)] = true
	}
	free, err := p.free(all)
	if err != nil {
		return err
	}
	for n, i := range batch {
		full := p.filled(rows[i], donor, free+n)
		all = append(all, full)
		index[p.keyOf(p.keys, full)] = i
		if p.checked < mostAlone {
			p.checked++
			if ok, err := p.passesKeys(ctx, full); err != nil || !ok {
				return cmp.Or(err, errNoKeys)
			}
		}
	}
	columns, found := slices.Clone(columns), len(columns)
	last := p.Queries[len(p.Queries)-1].Step.Outputs["out"].Schema
	for _, i := range p.keys {
		columns = append(columns, last[place(last, p.source[i].Name)])
	}
	made, says, err := p.run(ctx, all, columns)
	if err != nil {
		return err
	}
	for _, i := range batch {
		results[i] = trained{says: says}
	}
	if says != "" && len(batch) > 1 { // of which it may be one
		for _, i := range batch {
			if err := p.batch(ctx, rows, positions, of, []int{i}, donor, columns[:found], results); err != nil {
				return err
			}
		}
		return nil
	}
	for _, row := range made {
		var key []byte
		for n, i := range p.keys {
			key = appendKey(key, p.source[i].Type, row[found+n])
		}
		i, ok := index[string(key)]
		switch {
		case ok:
			results[i].rows++
			if results[i].values = row[:found]; results[i].rows > 1 {
				results[i].values = nil
			}
		case !others[string(key)]:
			return errNoKeys
		}
	}
	return nil
}

// known adds the rows that the history of a request had: each key once, as that of an event rather
// than as a row of the source, and not the request itself.
func (p *past) known(all [][]rowsql.Value, g *group, position int64, request []rowsql.Value) [][]rowsql.Value {
	seen := map[string]bool{}
	if !slices.ContainsFunc(p.identity, func(i int) bool { return p.given[i] < 0 }) && len(p.identity) > 0 {
		seen[p.keyOf(p.identity, p.filled(request, p.donors[0], 0))] = true
	}
	add := func(row []rowsql.Value) {
		if len(p.identity) > 0 {
			key := p.keyOf(p.identity, row)
			if seen[key] {
				return
			}
			seen[key] = true
		}
		all = append(all, row)
	}
	for i, row := range g.events {
		if g.number[i] < position {
			add(row)
		}
	}
	for _, row := range g.rows {
		add(row)
	}
	return all
}

// free returns the first number of those with which rows of requests are filled, so that no row of
// the history has it.
func (p *past) free(all [][]rowsql.Value) (int, error) {
	if p.number < 0 {
		return 0, nil
	}
	first := int64(0)
	for _, row := range all {
		switch v := row[p.number]; {
		case v.Null:
		case p.source[p.number].Type == "string":
			if n, err := strconv.ParseInt(v.Text, 10, 64); err == nil && n >= first && n < math.MaxInt32 {
				first = n + 1
			}
		default:
			first = max(first, v.Int()+1)
		}
	}
	most := map[string]int64{"int16": math.MaxInt16, "uint16": math.MaxUint16, "int32": math.MaxInt32, "uint32": math.MaxUint32}[p.source[p.number].Type]
	if most == 0 {
		most = math.MaxInt64 - 1
	}
	if first > most-int64(chunk) {
		return 0, fmt.Errorf("no value of %s is free for the rows of requests, which lack it", p.source[p.number].Name)
	}
	return int(first), nil
}
