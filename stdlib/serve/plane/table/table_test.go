package table_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	_ "github.com/duckdb/duckdb-go/v2"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/table"
)

// extremes are values that are easily read as others.
var extremes = map[string][]rowsql.Value{
	"bool":    {rowsql.Bool(false), rowsql.Bool(true)},
	"int8":    {rowsql.Int(math.MinInt8), rowsql.Int(-1), rowsql.Int(0), rowsql.Int(math.MaxInt8)},
	"int16":   {rowsql.Int(math.MinInt16), rowsql.Int(-1), rowsql.Int(math.MaxInt16)},
	"int32":   {rowsql.Int(math.MinInt32), rowsql.Int(-1), rowsql.Int(math.MaxInt32)},
	"int64":   {rowsql.Int(math.MinInt64), rowsql.Int(-1), rowsql.Int(1<<53 + 1), rowsql.Int(math.MaxInt64)},
	"uint8":   {rowsql.Uint(0), rowsql.Uint(128), rowsql.Uint(math.MaxUint8)},
	"uint16":  {rowsql.Uint(0), rowsql.Uint(1 << 15), rowsql.Uint(math.MaxUint16)},
	"uint32":  {rowsql.Uint(0), rowsql.Uint(1 << 31), rowsql.Uint(math.MaxUint32)},
	"uint64":  {rowsql.Uint(0), rowsql.Uint(1 << 63), rowsql.Uint(math.MaxUint64)},
	"float32": {rowsql.Float32(0), rowsql.Float32(float32(math.Copysign(0, -1))), rowsql.Float32(math.SmallestNonzeroFloat32), rowsql.Float32(-math.MaxFloat32), rowsql.Float32(float32(math.Inf(1))), rowsql.Float32(float32(math.NaN()))},
	"float64": {rowsql.Float(0), rowsql.Float(math.Copysign(0, -1)), rowsql.Float(math.SmallestNonzeroFloat64), rowsql.Float(math.MaxFloat64), rowsql.Float(math.Inf(-1)), rowsql.Float(0.1)},
	"string":  {rowsql.String(""), rowsql.String("é😀\u0000x"), rowsql.String("NULL"), rowsql.String(strings.Repeat("long ", 300))},
	"bytes":   {rowsql.String(""), rowsql.String("\x00\xff"), rowsql.String("'\\x41")},
	"date":    {rowsql.Int(0), rowsql.Int(-719_162), rowsql.Int(-1), rowsql.Int(2_932_896)},
	"time":    {rowsql.Int(0), rowsql.Int(1), rowsql.Int(86_399_999_999)},
	"timestamp": {
		rowsql.Int(0), rowsql.Int(-1), rowsql.Int(-62_135_596_800_000_000), rowsql.Int(253_402_300_799_999_999),
	},
	"timestamptz": {rowsql.Int(0), rowsql.Int(-1), rowsql.Int(1_700_000_000_123_456)},
}

// everything has each type twice: with nulls and without.
func everything() (s ir.Schema) {
	names := make([]string, 0, len(extremes))
	for name := range extremes {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		s = append(s, ir.Column{Name: "a " + name, Type: name, Nullable: true, NaN: name[0] == 'f'}, ir.Column{Name: name, Type: name, NaN: name[0] == 'f'})
	}
	return s
}

func draw(r *rand.Rand, c ir.Column) rowsql.Value {
	if c.Nullable && r.IntN(5) == 0 {
		return rowsql.Null
	}
	known := extremes[c.Type]
	if r.IntN(3) == 0 {
		return known[r.IntN(len(known))]
	}
	switch c.Type {
	case "bool":
		return rowsql.Bool(r.IntN(2) == 0)
	case "string", "bytes":
		return rowsql.String(strings.Repeat(string(rune('a'+r.IntN(26))), r.IntN(40)) + strconv.Itoa(r.IntN(20_000)))
	case "float32":
		return rowsql.Float32(float32(r.NormFloat64()))
	case "float64":
		return rowsql.Float(r.NormFloat64())
	case "date":
		return rowsql.Int(int64(r.IntN(100_000) - 50_000))
	case "time":
		return rowsql.Int(r.Int64N(86_400_000_000))
	case "timestamp", "timestamptz":
		return rowsql.Int(r.Int64N(4e15) - 2e15)
	}
	bits, _ := strconv.Atoi(strings.TrimLeft(c.Type, "uint"))
	if c.Type[0] == 'u' {
		return rowsql.Uint(r.Uint64() >> (64 - bits))
	}
	return rowsql.Int(int64(r.Uint64()) >> (64 - bits))
}

func drawRows(s ir.Schema, n int) [][]rowsql.Value {
	r := rand.New(rand.NewPCG(1, 2))
	rows := make([][]rowsql.Value, n)
	for i := range rows {
		for _, c := range s {
			rows[i] = append(rows[i], draw(r, c))
		}
	}
	return rows
}

// bits writes rows as JSON that both writers read: numbers as the integers of their bits, texts
// as base64.
func bits(t testing.TB, s ir.Schema, rows [][]rowsql.Value) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rows.json")
	var all []map[string]any
	for _, r := range rows {
		doc := map[string]any{}
		for i, c := range s {
			switch {
			case r[i].Null:
				doc[c.Name] = nil
			case c.Type == "string", c.Type == "bytes":
				doc[c.Name] = []byte(r[i].Text) // base64
			case c.Type[0] == 'u':
				doc[c.Name] = strconv.FormatUint(r[i].Bits, 10)
			default:
				doc[c.Name] = strconv.FormatInt(int64(r[i].Bits), 10)
			}
		}
		all = append(all, doc)
	}
	b, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func execute(t testing.TB, queries ...string) {
	t.Helper()
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	for _, q := range append([]string{"SET TimeZone = 'UTC'"}, queries...) {
		if _, err := db.Exec(q); err != nil {
			t.Fatalf("%v\n%.500s", err, q)
		}
	}
}

// byDuckDB writes rows as the components that run SQL do.
func byDuckDB(t testing.TB, s ir.Schema, rows [][]rowsql.Value) string {
	path := filepath.Join(t.TempDir(), "duckdb")
	var columns, fields, read []string
	for _, c := range s {
		name := `"` + c.Name + `"`
		fields = append(fields, "'"+c.Name+"': 'VARCHAR'")
		columns = append(columns, name+" "+ir.Types[c.Type])
		e := name + "::BIGINT"
		switch c.Type {
		case "string":
			e = "decode(from_base64(" + name + "))"
		case "bytes":
			e = "from_base64(" + name + ")"
		case "uint64":
			e = name + "::UBIGINT"
		case "float32", "float64":
			e = name // as text, see below
		case "bool":
			e = name + " = '1'"
		case "date":
			e = "DATE '1970-01-01' + " + name + "::INTEGER"
		case "time":
			e = "make_timestamp(" + name + "::BIGINT)::TIME"
		case "timestamp":
			e = "make_timestamp(" + name + "::BIGINT)"
		case "timestamptz":
			e = "make_timestamp(" + name + "::BIGINT)::TIMESTAMPTZ"
		}
		read = append(read, e+" AS "+name)
	}
	source := bits(t, s, rows)
	// DuckDB cannot make floats of bits, but reads the shortest text of each exactly.
	raw, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	var docs []map[string]any
	if err := json.Unmarshal(raw, &docs); err != nil {
		t.Fatal(err)
	}
	for i, doc := range docs {
		for j, c := range s {
			switch v := rows[i][j]; {
			case v.Null:
			case c.Type == "float64":
				doc[c.Name] = strconv.FormatFloat(v.Float(), 'g', -1, 64)
			case c.Type == "float32":
				doc[c.Name] = strconv.FormatFloat(float64(v.Float32()), 'g', -1, 32)
			}
		}
	}
	if raw, err = json.Marshal(docs); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(source, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	execute(t, "CREATE TABLE t ("+strings.Join(columns, ", ")+")",
		"INSERT INTO t SELECT "+strings.Join(read, ", ")+" FROM read_json('"+source+"', columns = {"+strings.Join(fields, ", ")+"}, maximum_object_size = 100000000)",
		"COPY (FROM t) TO '"+path+"' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 2048, USE_TMP_FILE false)")
	return path
}

const writer = `
import base64, json, pathlib, struct, sys
sys.path.insert(0, "../../../lib/step")
import pyarrow as pa
import tenon_table as t
columns = [t.Column.parse(c) for c in json.loads(sys.argv[1])]
rows = json.load(open(sys.argv[2]))
t.ROW_GROUP = 2048
def array(c):
    values = [r[c.name] for r in rows]
    kind = t.arrow_type(c.type)
    if c.type in ("string", "bytes"):
        values = [v if v is None else base64.b64decode(v) for v in values]
        return pa.array(values, pa.binary()).cast(kind)
    numbers = [v if v is None else int(v) for v in values]
    if c.type.startswith("float"):
        n, f = ("<Q", "<d") if c.type == "float64" else ("<I", "<f")
        size = 2 ** (64 if c.type == "float64" else 32)
        return pa.array([v if v is None else struct.unpack(f, struct.pack(n, v % size))[0] for v in numbers], kind)
    if c.type == "bool":
        return pa.array([v if v is None else v == 1 for v in numbers])
    if c.type == "date":
        return pa.array(numbers, pa.int32()).cast(kind)
    if c.type.startswith("time"):
        return pa.array(numbers, pa.int64()).cast(kind)
    return pa.array(numbers, kind)
with t.TableWriter(pathlib.Path(sys.argv[3]), columns, "the table", "error") as w:
    w.write(pa.table({c.name: array(c) for c in columns}))
`

// python returns an interpreter with pyarrow.
func python(t testing.TB) string {
	t.Helper()
	cache := os.Getenv("TENON_CACHE")
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			t.Skip(err)
		}
		cache = filepath.Join(user, "tenon")
	}
	found, _ := filepath.Glob(filepath.Join(cache, "test-*", "bin", "python"))
	if len(found) == 0 {
		t.Skip("there is no environment with pyarrow: stdlib/lib/test/run.sh makes one")
	}
	return found[0]
}

func byPython(t testing.TB, s ir.Schema, rows [][]rowsql.Value) string {
	path := filepath.Join(t.TempDir(), "pyarrow")
	schema, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(python(t), "-c", writer, string(schema), bits(t, s, rows), path).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// read reads all rows, in batches of a size.
func read(t testing.TB, path string, s ir.Schema, size int) [][]rowsql.Value {
	t.Helper()
	r, err := table.Open(path, s)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var b table.Batch
	var all [][]rowsql.Value
	for {
		err := r.Read(context.Background(), &b, size)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range b.Len() {
			all = append(all, slices.Clone(b.Row(i)))
		}
	}
	if int64(len(all)) != r.Rows() {
		t.Errorf("%d rows, the file says %d", len(all), r.Rows())
	}
	return all
}

func TestEveryTypeIsReadAsItWasWritten(t *testing.T) {
	s := everything()
	rows := drawRows(s, 5000)
	// Tenon's own writer has no negative zeros, as tables of Tenon.
	stored := make([][]rowsql.Value, len(rows))
	for i, r := range rows {
		for j, v := range r {
			rowsql.Store(&s[j], &v)
			stored[i] = append(stored[i], v)
		}
	}
	for name, write := range map[string]func(testing.TB, ir.Schema, [][]rowsql.Value) string{"DuckDB": byDuckDB, "pyarrow": byPython} {
		t.Run(name, func(t *testing.T) {
			path := write(t, s, rows)
			for _, size := range []int{1, 1000, 1 << 20} {
				got := read(t, path, s, size)
				if len(got) != len(rows) {
					t.Fatalf("%d rows, want %d", len(got), len(rows))
				}
				for i := range rows {
					for j := range s {
						if got[i][j] != rows[i][j] && !(name == "pyarrow" && got[i][j] == stored[i][j]) {
							t.Fatalf("batches of %d: row %d, column %s: got %+v, want %+v", size, i, s[j].Name, got[i][j], rows[i][j])
						}
					}
				}
			}
			// Some columns in another order.
			some := ir.Schema{s[7], s[2]}
			for i, r := range read(t, path, some, 777) {
				if r[0] != rows[i][7] || r[1] != rows[i][2] {
					t.Fatalf("row %d: got %+v, want %+v and %+v", i, r, rows[i][7], rows[i][2])
				}
			}
		})
	}
}

func TestWrongFilesAreRefused(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good")
	execute(t, "COPY (SELECT range AS n, 'a' || range AS s, nullif(range, 5) AS m FROM range(5000)) TO '"+good+"' (FORMAT parquet, ROW_GROUP_SIZE 2048)")
	odd := filepath.Join(dir, "odd")
	execute(t, "COPY (SELECT 1::HUGEINT AS h, 1.5::DECIMAL(5,2) AS d, [1] AS l, {'a': 1} AS st, TIMESTAMP_NS '2020-01-01' AS ns, gen_random_uuid() AS u, INTERVAL 1 DAY AS i, 'a'::BLOB AS b, '01'::BIT AS bit) TO '"+odd+"' (FORMAT parquet)")
	other := filepath.Join(dir, "other")
	if err := os.WriteFile(other, []byte("no Parquet"), 0o600); err != nil {
		t.Fatal(err)
	}
	int64s := ir.Schema{{Name: "n", Type: "int64"}}
	for name, c := range map[string]struct {
		path   string
		schema ir.Schema
		want   string
	}{
		"no file":          {filepath.Join(dir, "none"), int64s, "no such file"},
		"a folder":         {dir, int64s, "it is not a file"},
		"another format":   {other, int64s, "it is not a Parquet file"},
		"a missing column": {good, ir.Schema{{Name: "N", Type: "int64"}}, "it has no column N"},
		"a narrower type":  {good, ir.Schema{{Name: "n", Type: "int32"}}, "which is not int32"},
		"text as a number": {good, ir.Schema{{Name: "s", Type: "int64"}}, "which is not int64"},
		"text as bytes":    {good, ir.Schema{{Name: "s", Type: "bytes"}}, "which is not bytes"},
		"a null":           {good, ir.Schema{{Name: "m", Type: "int64"}}, "it has a null"},
		"a huge integer":   {odd, ir.Schema{{Name: "h", Type: "int64"}}, "which is not int64"},
		"a decimal":        {odd, ir.Schema{{Name: "d", Type: "float64"}}, "which is not float64"},
		"a list":           {odd, ir.Schema{{Name: "l", Type: "int64"}}, "nested"},
		"a struct":         {odd, ir.Schema{{Name: "st", Type: "int64"}}, "nested"},
		"nanoseconds":      {odd, ir.Schema{{Name: "ns", Type: "timestamp"}}, "which is not timestamp"},
		"a UUID":           {odd, ir.Schema{{Name: "u", Type: "string"}}, "which is not string"},
		"an interval":      {odd, ir.Schema{{Name: "i", Type: "time"}}, "which is not time"},
		"bytes as text":    {odd, ir.Schema{{Name: "b", Type: "string"}}, "which is not string"},
		"an unknown type":  {good, ir.Schema{{Name: "n", Type: "int128"}}, "is not known"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := readAll(c.path, c.schema); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	t.Run("damaged files do not panic", func(t *testing.T) {
		whole, err := os.ReadFile(good)
		if err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(3, 4))
		for range 300 {
			b := slices.Clone(whole)
			for range 1 + r.IntN(20) {
				b[r.IntN(len(b))] = byte(r.IntN(256))
			}
			path := filepath.Join(dir, "damaged")
			if err := os.WriteFile(path, b[:len(b)-r.IntN(2)*r.IntN(len(b))], 0o600); err != nil {
				t.Fatal(err)
			}
			_ = readAll(path, ir.Schema{{Name: "n", Type: "int64"}, {Name: "s", Type: "string"}, {Name: "m", Type: "int64", Nullable: true}})
		}
	})
}

func readAll(path string, s ir.Schema) error {
	r, err := table.Open(path, s)
	if err != nil {
		return err
	}
	defer r.Close()
	var b table.Batch
	for err == nil {
		err = r.Read(context.Background(), &b, 1000)
	}
	if err == io.EOF {
		return nil
	}
	return err
}

func TestReadingEndsWithItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t")
	execute(t, "COPY (SELECT range AS n FROM range(10)) TO '"+path+"' (FORMAT parquet)")
	r, err := table.Open(path, ir.Schema{{Name: "n", Type: "int64"}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var b table.Batch
	if err := r.Read(ctx, &b, 5); err != context.Canceled {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
}

func BenchmarkRead(b *testing.B) {
	path := filepath.Join(b.TempDir(), "t")
	execute(b, "COPY (SELECT range AS n, random() AS x, 'k' || (range % 1000) AS s FROM range(200000)) TO '"+path+"' (FORMAT parquet, COMPRESSION zstd)")
	s := ir.Schema{{Name: "n", Type: "int64"}, {Name: "x", Type: "float64"}, {Name: "s", Type: "string"}}
	for b.Loop() {
		if err := readAll(path, s); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/200_000, "ns/row")
}
