package engine_test

import (
	"encoding/hex"
	"fmt"
	"math"
	"math/big"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

// A stored value is one that a Parquet file holds, in DuckDB's SQL and as Go has it.
type stored struct {
	kind  string // as in the table of conversions
	sql   string
	bool  bool
	exact *big.Rat // of an int, a decimal or a finite float
	scale int      // digits after the point, of a decimal
	float float64
	bytes []byte    // of text and bytes
	at    time.Time // of a date, a time of day or a timestamp
}

var (
	integers = []struct {
		typ    string
		bits   int
		signed bool
	}{
		{"TINYINT", 8, true}, {"SMALLINT", 16, true}, {"INTEGER", 32, true}, {"BIGINT", 64, true},
		{"UTINYINT", 8, false}, {"USMALLINT", 16, false}, {"UINTEGER", 32, false}, {"UBIGINT", 64, false},
	}
	noon = time.Date(2000, 1, 1, 12, 0, 0, 0, time.UTC)
)

// storedOf makes a value of what the fuzzer chooses.
func storedOf(choice byte, n int64, text string) stored {
	variant := int(choice / 10)
	switch choice % 10 {
	case 0:
		return stored{kind: "bool", sql: strconv.FormatBool(n&1 == 1), bool: n&1 == 1}
	case 1:
		t := integers[variant%len(integers)]
		v := new(big.Int).SetInt64(n >> (64 - t.bits))
		if !t.signed {
			v.SetUint64(uint64(n) >> (64 - t.bits))
		}
		return stored{kind: "int", sql: fmt.Sprintf("'%s'::%s", v, t.typ), exact: new(big.Rat).SetInt(v)}
	case 2:
		f, typ := math.Float64frombits(uint64(n)), "DOUBLE"
		switch variant % 3 {
		case 1: // numbers that occur
			f = float64(n%2_000_000) / 1000
		case 2:
			f, typ = float64(math.Float32frombits(uint32(n))), "FLOAT"
		}
		s := stored{kind: "float", float: f, sql: fmt.Sprintf("'%s'::%s", strconv.FormatFloat(f, 'g', -1, 64), typ)}
		if !math.IsNaN(f) && !math.IsInf(f, 0) {
			s.exact = new(big.Rat).SetFloat64(f)
		}
		return s
	case 3:
		scale := variant % 7
		v := new(big.Rat).SetFrac(big.NewInt(n%1_000_000_000_000_000_000), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil))
		return stored{kind: "decimal", sql: fmt.Sprintf("'%s'::DECIMAL(18,%d)", v.FloatString(scale), scale), exact: v, scale: scale}
	case 4:
		return stored{kind: "text", sql: fmt.Sprintf("decode(unhex('%s'))", hex.EncodeToString([]byte(text))), bytes: []byte(text)}
	case 5:
		return stored{kind: "bytes", sql: fmt.Sprintf("unhex('%s')", hex.EncodeToString([]byte(text))), bytes: []byte(text)}
	case 6:
		days := int(n % 700_000)
		return stored{kind: "date", sql: fmt.Sprintf("DATE '2000-01-01' + (%d)", days), at: noon.Truncate(24*time.Hour).AddDate(0, 0, days)}
	case 7:
		micros := (n%86_400_000_000 + 86_400_000_000) % 86_400_000_000
		at := time.Unix(0, 0).UTC().Add(time.Duration(micros) * time.Microsecond)
		return stored{kind: "time", sql: "TIME '" + at.Format("15:04:05.000000") + "'", at: at}
	case 8:
		if variant%2 == 1 {
			n %= 9_000_000_000_000_000_000
			return stored{kind: "timestamp", sql: fmt.Sprintf("make_timestamp_ns(%d)", n), at: time.Unix(0, n).UTC()}
		}
		fallthrough
	default:
		micros := n % 60_000_000_000_000_000 // of the years 69 to 3871
		if variant%3 == 0 {
			micros -= micros % 86_400_000_000
		}
		s := stored{kind: "timestamp", sql: fmt.Sprintf("make_timestamp(%d)", micros), at: time.UnixMicro(micros).UTC()}
		if choice%10 == 9 {
			s.kind, s.sql = "timestamptz", fmt.Sprintf("make_timestamptz(%d)", micros)
		}
		return s
	}
}

// as says, from the words of the table and without DuckDB, what a value becomes where a type
// is declared: the text that is shown, or that the value is refused. Text is checked by
// standsFor.
func (s stored) as(typ string) (shown string, taken bool) {
	midnight := s.at.Equal(s.at.Truncate(24 * time.Hour))
	micros := s.at.Nanosecond()%1000 == 0
	switch typ {
	case "bool":
		if s.kind == "bool" {
			return strconv.FormatBool(s.bool), true
		}
		if s.exact != nil && (s.kind == "int" || s.kind == "float") {
			return strconv.FormatBool(s.exact.Sign() != 0), s.exact.Sign() == 0 || s.exact.Cmp(big.NewRat(1, 1)) == 0
		}
	case "int64", "uint8":
		if s.exact == nil || !s.exact.IsInt() {
			return "", false
		}
		n := s.exact.Num()
		return n.String(), n.IsInt64() && (typ == "int64" || n.Sign() >= 0 && n.Cmp(big.NewInt(255)) <= 0)
	case "float64", "float32":
		bits := map[string]int{"float64": 64, "float32": 32}[typ]
		switch {
		case s.kind == "float" && s.exact == nil:
			return strings.ToLower(strings.TrimPrefix(strconv.FormatFloat(s.float, 'g', -1, bits), "+")), true
		case s.exact == nil:
			return "", false
		}
		f, _ := s.exact.Float64()
		if bits == 32 {
			f32, _ := s.exact.Float32()
			f = float64(f32)
		}
		if math.IsInf(f, 0) {
			return "", false
		}
		text := strconv.FormatFloat(f, 'g', -1, bits)
		same := new(big.Rat).SetFloat64(f)
		if s.kind == "decimal" {
			same.SetString(text)
		}
		return text, same.Cmp(s.exact) == 0
	case "string":
		switch s.kind {
		case "bool":
			return strconv.FormatBool(s.bool), true
		case "int", "decimal":
			return s.exact.FloatString(s.scale), true
		case "bytes":
			return string(s.bytes), utf8.Valid(s.bytes)
		case "float":
			return strings.ToLower(strings.TrimPrefix(strconv.FormatFloat(s.float, 'g', -1, 64), "+")), true
		case "date":
			return s.at.Format("2006-01-02"), true
		case "time":
			return s.at.Format("15:04:05.999999"), true
		case "timestamp":
			return s.at.Format("2006-01-02 15:04:05.999999999"), true
		case "timestamptz":
			return s.at.Format("2006-01-02 15:04:05.999999") + "+00", true
		}
	case "bytes":
		return string(s.bytes), s.kind == "bytes"
	case "date":
		return s.at.Format("2006-01-02"), s.kind == "date" || s.kind == "timestamp" && midnight
	case "time":
		return s.at.Format("15:04:05.999999"), s.kind == "time"
	case "timestamp":
		return s.at.Format("2006-01-02 15:04:05.999999"), s.kind == "date" || s.kind == "timestamp" && micros
	case "timestamptz":
		return s.at.Format("2006-01-02 15:04:05.999999") + "+00", s.kind == "timestamptz"
	}
	return "", false
}

// halfway reports whether a value is a decimal number that shares its float with the next
// one: either of them may be what the float prints as.
func (s stored) halfway(typ string) bool {
	if s.kind != "decimal" || !strings.HasPrefix(typ, "float") {
		return false
	}
	f, _ := s.exact.Float64()
	if typ == "float32" {
		f32, _ := s.exact.Float32()
		f = float64(f32)
	}
	apart := new(big.Rat).Sub(new(big.Rat).SetFloat64(f), s.exact)
	step := new(big.Rat).SetFrac(big.NewInt(1), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(s.scale)), nil))
	return apart.Abs(apart).Mul(apart, big.NewRat(2, 1)).Cmp(step) == 0
}

// same reports whether two texts are the same value of a type.
func (s stored) same(typ, got, want string) bool {
	switch {
	case strings.HasPrefix(typ, "float") || typ == "string" && s.kind == "float":
		a, err1 := strconv.ParseFloat(got, 64)
		b, err2 := strconv.ParseFloat(want, 64)
		if typ == "float32" || strings.HasSuffix(s.sql, "::FLOAT") {
			a, b = float64(float32(a)), float64(float32(b))
		}
		return err1 == nil && err2 == nil && (a == b || math.IsNaN(a) && math.IsNaN(b))
	case typ == "bytes":
		return unescaped(got) == want
	}
	return got == want
}

// unescaped returns the bytes that DuckDB shows with \x41 in place of some.
func unescaped(shown string) string {
	var b strings.Builder
	for i := 0; i < len(shown); i++ {
		if n, err := strconv.ParseUint(shown[min(i+2, len(shown)):min(i+4, len(shown))], 16, 8); strings.HasPrefix(shown[i:], `\x`) && err == nil {
			b.WriteByte(byte(n))
			i += 3
			continue
		}
		b.WriteByte(shown[i])
	}
	return b.String()
}

// FuzzParquet compares what the values of a Parquet file become with the table of conversions.
func FuzzParquet(f *testing.F) {
	numbers := []int64{0, 1, -1, 300, 16777217, 9007199254740993, math.MaxInt64, math.MinInt64, 0x3ff0000000000000, 0x7ff8000000000001, 0x7ff0000000000000, 0x3fb999999999999a}
	for choice := range byte(80) {
		for i, n := range numbers {
			if (int(choice)+i)%3 == 0 { // every kind of value, and every number with several of them
				f.Add(choice, n, textSeeds[int(choice)%len(textSeeds)])
			}
		}
	}
	f.Add(byte(5), int64(0), "\xff\x00'")
	reader := newFuzzReader(f)
	types := []string{"bool", "int64", "uint8", "float64", "float32", "string", "bytes", "date", "time", "timestamp", "timestamptz"}
	f.Fuzz(func(t *testing.T, choice byte, n int64, text string) {
		value := storedOf(choice, n, text)
		if len(text) > 100 || value.kind == "text" && (!utf8.ValidString(text) || strings.ContainsRune(text, 0)) {
			return
		}
		// DuckDB keeps what it has read of a file, so each file has a name of its own.
		file := filepath.Join(t.TempDir(), "a.parquet")
		if err := reader.Write(t.Context(), "SELECT "+value.sql+" AS v", file); err != nil {
			t.Fatalf("write %s: %v", value.sql, err)
		}
		for _, typ := range types {
			got := reader.ingest(t, file, duck.Source{}, ir.Schema{{Name: "v", Type: typ, NaN: true}})
			want, taken := value.as(typ)
			if value.kind == "text" {
				if got != nil && typ != "bytes" && !standsFor(text, typ, got[0][0]) {
					t.Errorf("%q as %s becomes %q", text, typ, got[0][0])
				}
				continue
			}
			switch {
			case value.halfway(typ):
			case got == nil && taken:
				t.Errorf("%s as %s is refused, want %q", value.sql, typ, want)
			case got != nil && !taken:
				t.Errorf("%s as %s becomes %q, want a refusal", value.sql, typ, got[0][0])
			case got != nil && !value.same(typ, got[0][0], want):
				t.Errorf("%s as %s becomes %q, want %q", value.sql, typ, got[0][0], want)
			}
		}
	})
}

// FuzzParquetFile reads files that are damaged in any way: each is refused or read.
func FuzzParquetFile(f *testing.F) {
	reader := newFuzzReader(f)
	small := filepath.Join(reader.dir, "small.parquet")
	if err := reader.Write(f.Context(), "SELECT range AS v, 'x' AS s FROM range(3)", small); err != nil {
		f.Fatal(err)
	}
	b, err := os.ReadFile(small)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b, 0, byte(0), len(b))
	f.Add([]byte("PAR1PAR1"), 0, byte(0), 8)
	// One byte of a good file is another one, and the file may end early.
	f.Fuzz(func(t *testing.T, content []byte, at int, b byte, length int) {
		if len(content) == 0 || len(content) > 1<<16 {
			return
		}
		content = append([]byte{}, content...)
		content[(at%len(content)+len(content))%len(content)] ^= b
		file := filepath.Join(t.TempDir(), "a.parquet")
		if err := os.WriteFile(file, content[:min(len(content), max(0, length))], 0o644); err != nil {
			t.Fatal(err)
		}
		for _, typ := range []string{"int64", "string"} {
			reader.ingest(t, file, duck.Source{}, ir.Schema{{Name: "v", Type: typ, Nullable: true}})
		}
	})
}
