package project

import (
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
)

func TestAUnitWithoutAnEnvironmentSaysWhy(t *testing.T) {
	for want, code := range map[string]ir.Code{
		"outside of the image trainer:3": {Runtime: ir.Command, Image: "trainer:3"},
		"a part of tenon":                {Runtime: ir.Builtin},
		"lists no packages":              {Runtime: ir.Command},
	} {
		err := noEnvironment(&ir.Unit{ID: "models/late/train", Code: code})
		if !strings.HasPrefix(err.Error(), "models/late/train has no Python environment") || !strings.Contains(err.Error(), want) {
			t.Errorf("%q, want it to contain %q", err, want)
		}
	}
}
