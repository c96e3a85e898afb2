package request_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/request"
)

// A body takes time in proportion to its size, also one with errors in all of its rows.
func TestABodyOfErrorsIsReadInTime(t *testing.T) {
	const rows = 100_000
	d := decoder(t, rows, ir.Column{Name: "n", Type: "int64"})
	for name, row := range map[string]string{"unknown fields": `{"x": 1}`, "texts": `{"n": "a"}`, "lists": `{"n": [1, {"a": 2}]}`, "objects in them": `{"n": {"a": 2}}`} {
		body := `{"instances": [` + strings.Repeat(row+",", rows-1) + row + `]}`
		began := time.Now()
		errs := d.Decode([]byte(body), new(request.Rows))
		if took := time.Since(began); len(errs) == 0 || took > 10*time.Second {
			t.Errorf("%s: %d errors in %s", name, len(errs), took)
		}
	}
}
