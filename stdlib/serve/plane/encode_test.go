package plane

import (
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// The memory of a list of nulls grows with its length, and not with its square.
func TestAListOfManyNulls(t *testing.T) {
	const n = 10_000
	var l nullList
	r := &result{Column: ir.Column{Name: "s", Type: "string"}}
	allocated := testing.AllocsPerRun(1, func() {
		l = nullList{}
		for range n {
			l.note(r, rowsql.Value{Null: true})
		}
	})
	if text := string(l.text); !strings.HasPrefix(text, "0,1,2,") || !strings.HasSuffix(text, ",9998,9999") {
		t.Errorf("%.20s", text)
	}
	if allocated > 100 {
		t.Errorf("%v allocations", allocated)
	}
}
