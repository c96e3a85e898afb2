package engine_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
	"github.com/tenon-ml/tenon/stdlib/duck/engine"
)

// testdata/json.txt is also what the components in Python take for JSON.
func TestWhatIsJSON(t *testing.T) {
	reader, err := engine.NewReader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(reader.Close)
	b, err := os.ReadFile("testdata/json.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		var tt struct {
			JSON  bool
			Texts []string
		}
		if err := json.Unmarshal(line, &tt); err != nil {
			t.Fatal(err)
		}
		for _, text := range tt.Texts {
			in, out := filepath.Join(t.TempDir(), "in.parquet"), filepath.Join(t.TempDir(), "out.parquet")
			if err := reader.Write(t.Context(), "SELECT "+engine.Quote(text)+" AS v", in); err != nil {
				t.Fatal(err)
			}
			err := reader.Ingest(t.Context(), duck.Source{Files: []string{in}}, ir.Schema{{Name: "v", Type: "string", JSON: true}}, out)
			if (err == nil) != tt.JSON {
				t.Errorf("%q: %v", text, err)
			}
		}
	}
}

// DuckDB takes a comma at the end of a list or an object, which other readers refuse.
func TestACommaAtTheEndIsRefused(t *testing.T) {
	schema := ir.Schema{{Name: "v", Type: "string", JSON: true, Nullable: true}}
	for text, want := range map[string]string{
		`{"v": [1,]}`:                          `a.jsonl:1: the line is not a JSON object: a comma comes before "]"`,
		`{"v": 1, }`:                           `a.jsonl:1: the line is not a JSON object: a comma comes before "}"`,
		`{"v": {"a": [1], }}`:                  `a.jsonl:1: the line is not a JSON object: a comma comes before "}"`,
		`{"o": [[], ], "v": 1}`:                `a.jsonl:1: the line is not a JSON object: a comma comes before "]"`,
		`{"v": [",]", {"a": ","}], "o": "\\"}`: "",
	} {
		if _, err := ingest(t, duck.Source{Files: []string{write(t, "a.jsonl", text+"\n")}}, schema); want != "" {
			wantError(t, err, want)
		} else if err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// A value is checked wherever the text is cut into parts.
func TestNumbersAreCheckedAcrossBlocks(t *testing.T) {
	schema := ir.Schema{{Name: "v", Type: "int64"}}
	for _, before := range []int{1<<18 - 8, 1<<18 - 4, 1 << 18} {
		text := `{"o": "` + strings.Repeat("x", before-30) + `", "v": 1.0000000000000000001}`
		_, err := ingest(t, duck.Source{Files: []string{write(t, "a.jsonl", "{\"v\": 1}\n"+text)}}, schema)
		wantError(t, err, `a.jsonl:2: column "v": "1.0000000000000000001" is not an int64`)
	}
}
