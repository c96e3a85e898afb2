package terraform

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// OwnOf returns a user's own files in the settings of a target, by path, as the compiler has read them.
func OwnOf(settings map[string]any) map[string]string {
	all, _ := settings["files"].(map[string]any)
	own := map[string]string{}
	for at, content := range all {
		own[at], _ = content.(string)
	}
	return own
}

// WithOwn returns documents with a user's own files, by path. Each gets a first line that says where it is from. An
// error names the places of what is in two files, and what a file cannot have.
func WithOwn(docs []Document, own map[string]string) ([]Document, error) {
	if len(own) == 0 {
		return docs, nil
	}
	declared, names := map[string]string{}, map[string]string{} // where, and of which file
	for _, d := range docs {
		names[d.Name] = ""
		if strings.HasSuffix(d.Name, ".tf") {
			if _, err := declare(declared, d.Name, d.Content); err != nil {
				return nil, err
			}
		}
	}
	var errs []error
	docs = slices.Clone(docs)
	for _, at := range slices.Sorted(maps.Keys(own)) {
		name, content := path.Base(at), own[at]
		other, taken := names[name]
		switch {
		case !strings.HasSuffix(name, ".tf"):
			errs = append(errs, fmt.Errorf("%s is not a file for OpenTofu: its name has to end with .tf", at))
			continue
		case name == "override.tf" || strings.HasSuffix(name, "_override.tf"):
			errs = append(errs, fmt.Errorf("%s would replace parts of other files because of its name: rename it", at))
			continue
		case taken && other == "":
			errs = append(errs, fmt.Errorf("%s has the name of a file that tenon writes: rename it", at))
			continue
		case taken:
			errs = append(errs, fmt.Errorf("%s and %s have the same name, and all files are in one folder: rename one of them", other, at))
			continue
		}
		names[name] = at
		refused, err := declare(declared, at, []byte(content))
		errs = append(errs, err, refused)
		docs = append(docs, Document{Name: name, Content: []byte("# " + Header + " It is a copy of " + at + ".\n" + content)})
	}
	slices.SortFunc(docs, func(a, b Document) int { return cmp.Compare(a.Name, b.Name) })
	return docs, errors.Join(errs...)
}

// elsewhere are blocks about the state of OpenTofu, which a user's own files cannot have, and why.
var elsewhere = map[string]string{
	"backend":    stateElsewhere,
	"cloud":      stateElsewhere,
	"encryption": "tenon encrypts the state: remove the block",
}

const stateElsewhere = "tenon keeps the state: remove the block; with infrastructure: \"external\", put it into a file of the folder that tenon compile --out writes"

// declare notes where a file declares what no other file may. It returns what the file cannot have besides
// what tenon writes.
func declare(declared map[string]string, file string, content []byte) (refused, err error) {
	parsed, diags := hclsyntax.ParseConfig(content, file, hcl.InitialPos)
	if diags.HasErrors() {
		return nil, diags
	}
	body, ok := parsed.Body.(*hclsyntax.Body)
	if !ok {
		return nil, fmt.Errorf("%s is not in the language of OpenTofu", file)
	}
	var errs []error
	note := func(what string, at hcl.Range) {
		here := fmt.Sprintf("%s:%d", file, at.Start.Line)
		if there, twice := declared[what]; twice {
			errs = append(errs, fmt.Errorf("%s declares %s, which %s declares too: rename it", here, what, there))
			return
		}
		declared[what] = here
	}
	for _, b := range body.Blocks {
		what := strings.Join(append([]string{b.Type}, b.Labels...), " ")
		switch b.Type {
		case "locals":
			inOrder := slices.SortedFunc(maps.Values(b.Body.Attributes), func(x, y *hclsyntax.Attribute) int {
				return cmp.Compare(x.SrcRange.Start.Byte, y.SrcRange.Start.Byte)
			})
			for _, a := range inOrder {
				note("local."+a.Name, a.SrcRange)
			}
		case "terraform": // each required_version counts, and of blocks there is one
			for _, inner := range b.Body.Blocks {
				if why, refused := elsewhere[inner.Type]; refused {
					errs = append(errs, fmt.Errorf("%s:%d has the block %s: %s", file, inner.DefRange().Start.Line, strings.Join(append([]string{inner.Type}, inner.Labels...), " "), why))
					continue
				}
				note("terraform "+inner.Type, inner.DefRange())
			}
		case "provider":
			if alias := b.Body.Attributes["alias"]; alias != nil {
				v, _ := alias.Expr.Value(nil) // a constant, or OpenTofu refuses it
				if v.IsKnown() && !v.IsNull() {
					what += fmt.Sprintf(" %#v", v)
				}
			}
			note(what, b.DefRange())
		case "moved", "import", "removed", "check": // they declare nothing
		default:
			note(what, b.DefRange())
		}
	}
	return errors.Join(errs...), nil
}
