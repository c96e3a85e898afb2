package openinference

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/request"
)

// read reads a request for 3 rows or fewer of a column s, whose tensor of one row has contents.
func read(t *testing.T, contents ...[]byte) (*request.Rows, []request.Error, error) {
	t.Helper()
	tensors, err := request.NewTensors(ir.Schema{{Name: "s", Type: "string"}}, 3)
	if err != nil {
		t.Fatal(err)
	}
	x := Tensor(nil, "s", "BYTES", []int64{1})
	for _, c := range contents {
		x = Bytes(x, 5, c)
	}
	var rows request.Rows
	_, errs, err := Read(Bytes(nil, 5, x), tensors, &rows)
	return &rows, errs, err
}

// The contents of a tensor may be in several fields, and their limit holds for all together.
func TestContentsHaveOneLimit(t *testing.T) {
	two := Text(Text(nil, 8, "a"), 8, "b")
	if _, errs, err := read(t, two, two); err == nil || !strings.Contains(err.Error(), "a tensor may have at most 3 rows") {
		t.Errorf("%v, %v", errs, err)
	}
}

// Fields of a later version of the protocol are skipped, of whatever kind they are.
func TestUnknownFieldsOfContents(t *testing.T) {
	c := protowire.AppendVarint(protowire.AppendTag(nil, 9, protowire.VarintType), 1)
	c = protowire.AppendFixed32(protowire.AppendTag(c, 10, protowire.Fixed32Type), 1)
	c = protowire.AppendFixed64(protowire.AppendTag(c, 11, protowire.Fixed64Type), 1)
	c = Text(Text(c, 12, "later than all of these"), 8, "a")
	rows, errs, err := read(t, c)
	if err != nil || len(errs) > 0 || rows.Len() != 1 || rows.Row(0)[0].Text != "a" {
		t.Errorf("%v, %v, %v", rows, errs, err)
	}
}

func TestContentsOfAnotherKind(t *testing.T) {
	for name, c := range map[string][]byte{
		"a number as bytes":   Yes(nil, 8),
		"an fp64 as a number": Yes(nil, 7),
		"an int as an fp64":   protowire.AppendFixed64(protowire.AppendTag(nil, 2, protowire.Fixed64Type), 1),
	} {
		if _, _, err := read(t, c); err != errDamaged {
			t.Errorf("%s: %v", name, err)
		}
	}
}
