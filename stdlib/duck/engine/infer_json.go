package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// A jsonFile is a file of JSON lines and what was found in its text.
type jsonFile struct {
	relation
	scan *jsonScan
}

// inferJSON finds the types of the columns of JSON lines by trying the conversions of Ingest
// on all files, and returns the SELECT of their values. What is neither of one type nor text
// is kept as JSON.
func (s *session) inferJSON(ctx context.Context, files []jsonFile, found *inText) (string, error) {
	keys, where, err := keysOf(files, found)
	if err != nil {
		return "", err
	}
	from, err := s.jsonValues(ctx, files, keys)
	if err != nil {
		return "", err
	}
	// The first one that takes all values of a column is its type.
	candidates := []struct{ typ, kinds string }{
		{"int64", "'BIGINT', 'UBIGINT'"}, {"uint64", "'BIGINT', 'UBIGINT'"}, {"float64", "'BIGINT', 'UBIGINT', 'DOUBLE'"}, {"bool", "'BOOLEAN'"},
		{"date", "'VARCHAR'"}, {"timestamp", "'VARCHAR'"}, {"timestamptz", "'VARCHAR'"}, {"time", "'VARCHAR'"},
		{"string", "'VARCHAR', 'BOOLEAN', 'BIGINT', 'UBIGINT'"},
	}
	selects := make([]string, len(keys))
	for group := range slices.Chunk(indices(len(keys)), columnsAtOnce) {
		tests, dest := []string{}, []any{}
		filled, fits := make([]bool, len(group)), make([][]bool, len(group))
		for i, k := range group {
			col := fmt.Sprintf("c%d", k)
			tests, dest = append(tests, fmt.Sprintf("count(%s) > 0", col)), append(dest, &filled[i])
			fits[i] = make([]bool, len(candidates))
			for j, c := range candidates {
				bad := fromJSON(col, inferredAs(c.typ)).bad()
				tests = append(tests, fmt.Sprintf("coalesce(bool_and(NOT (%s) AND json_type(%s) IN (%s)) FILTER (WHERE %[2]s IS NOT NULL), false)", bad, col, c.kinds))
				dest = append(dest, &fits[i][j])
			}
		}
		if err := s.one(ctx, "SELECT "+strings.Join(tests, ", ")+" FROM "+from, dest...); err != nil {
			return "", s.explainJSON(files, err)
		}
		for i, k := range group {
			as := inferredAs("string")
			j := slices.Index(fits[i], true)
			if j >= 0 {
				as.Type = candidates[j].typ
			}
			as.JSON = j < 0 && filled[i]
			if fault := where[keys[k]]; fault != nil && (as.JSON || as.Type == "float64") {
				return "", fault // no type keeps it
			}
			found.json[keys[k]] = as.JSON
			selects[k] = fromJSON(fmt.Sprintf("c%d", k), as).sql(as) + " AS " + ident(keys[k])
		}
	}
	return "SELECT " + strings.Join(selects, ", ") + " FROM " + from, nil
}

// keysOf returns the keys of all objects that a schema can name, and the first number of each
// that is no float64.
func keysOf(files []jsonFile, found *inText) (keys []string, faults map[string]error, err error) {
	faults = map[string]error{}
	for _, f := range files {
		for _, key := range f.scan.keys {
			switch {
			case key == "":
				found.unnamed = true
			case !slices.Contains(keys, key):
				keys = append(keys, key)
			}
			if faults[key] == nil {
				faults[key] = f.scan.faults[key]
			}
		}
		if err := toldApart(f.file, keys); err != nil {
			return nil, nil, err
		}
	}
	return keys, faults, nil
}

// jsonValues is the SQL for the values of all files, of which c0 has those of the first key.
func (s *session) jsonValues(ctx context.Context, files []jsonFile, keys []string) (string, error) {
	if len(keys) == 0 {
		for _, f := range files {
			if found := malformedJSON(f.relation); found != nil {
				return "", found
			}
		}
		for _, f := range files {
			var empty bool
			if err := s.one(ctx, "SELECT count(*) = 0 FROM "+jsonObjects(f.path), &empty); err != nil {
				return "", err
			}
			if empty {
				return "", fmt.Errorf("%s: the file is empty", f.file)
			}
		}
		return "", fmt.Errorf("%s: no object has a key that a schema can name", files[0].file)
	}
	var selects, cols, names []string
	for i, key := range keys {
		cols = append(cols, ident(key)+": 'JSON'")
		names = append(names, fmt.Sprintf("%s AS c%d", ident(key), i))
	}
	for _, f := range files {
		selects = append(selects, "SELECT "+strings.Join(names, ", ")+" FROM "+jsonLines(f.path, "{"+strings.Join(cols, ", ")+"}"))
	}
	return "(" + strings.Join(selects, " UNION ALL ") + ")", nil
}

// explainJSON says where a text is not JSON lines.
func (s *session) explainJSON(files []jsonFile, err error) error {
	for _, f := range files {
		if found := malformedJSON(f.relation); found != nil {
			return found
		}
	}
	if len(files) == 1 {
		return jsonFault(files[0].relation, err)
	}
	return err
}
