package engine

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

// times returns the first and the last time of columns of Parquet files, as far as their
// statistics give both in every group of rows.
func (r *headReader) times(h duck.Head) map[string][2]int64 {
	found := map[string][2]int64{}
	for i, file := range h.Files {
		if formatOf(h.Source, file) != "parquet" {
			return nil
		}
		_, fields, err := r.session.pickParquet(r.ctx, file, h.Schema)
		if err != nil {
			return nil
		}
		for j, c := range h.Schema {
			kind := fields[j].found.kind
			if kind != "date" && kind != "timestamp" && kind != "timestamptz" || fields[j].lossy != "" || fields[j].found.nanos || c.Type != kind {
				continue
			}
			before, known := found[c.Name]
			if delete(found, c.Name); i > 0 && !known {
				continue
			}
			at := func(column string) string {
				return fmt.Sprintf("epoch_us(TRY_CAST(%s AS TIMESTAMPTZ))", column)
			}
			var low, high *int64
			var whole *bool
			query := fmt.Sprintf("SELECT min(%s), max(%s), bool_and(%[1]s IS NOT NULL AND %[2]s IS NOT NULL) FROM parquet_metadata(%s) WHERE path_in_schema = %s",
				at("stats_min_value"), at("stats_max_value"), quote(file), quote(c.Name))
			if err := r.session.one(r.ctx, query, &low, &high, &whole); err != nil || whole == nil || !*whole {
				continue
			}
			if i > 0 {
				*low, *high = min(*low, before[0]), max(*high, before[1])
			}
			found[c.Name] = [2]int64{*low, *high}
		}
	}
	return found
}

// fewRows is how many rows tell something: a text with fewer is a sample, beside which people
// write a system before they have the data.
const fewRows = 20

// rangeOf returns the first and the last time of a column of texts, or nil if [Ingest] would
// fail in this column, or there are few rows.
func rangeOf(ctx context.Context, h duck.Head) map[string][2]int64 {
	c := h.Schema.Column(h.Range)
	if c == nil {
		return nil
	}
	s, err := open(ctx, Limits{})
	if err != nil {
		return nil
	}
	defer s.close()
	if err := os.MkdirAll(s.temp, 0o700); err != nil {
		return nil
	}
	var selects []string
	for i, file := range h.Files {
		r, err := s.relate(ctx, file, h.Source, ir.Schema{*c}, i)
		if err != nil {
			return nil
		}
		selects = append(selects, "SELECT "+r.conv[0].sql(*c)+" AS t FROM "+r.from)
	}
	var rows int64
	var low, high *int64
	query := "SELECT count(t), epoch_us(min(t)), epoch_us(max(t)) FROM (" + strings.Join(selects, " UNION ALL ") + ")"
	if err := s.one(ctx, query, &rows, &low, &high); err != nil || rows < fewRows {
		return nil
	}
	return map[string][2]int64{c.Name: {*low, *high}}
}
