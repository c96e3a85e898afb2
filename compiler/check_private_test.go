package compiler_test

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// The columns that no log may show: those that are declared private, and those that queries
// compute from them.
func TestPrivateColumns(t *testing.T) {
	private := func(old, more string) edit { return edit{old, old + " & {private: " + more + "}"} }
	plane, year := edit{"plane:    col.#String & {nullable: true}", "plane:    col.#String & {nullable: true, private: true}"}, private("year:  col.#Int64", "true")
	for name, c := range map[string]struct {
		edits []edit
		want  []string
	}{
		"none":                       {nil, nil},
		"a column of the request":    {[]edit{plane}, []string{"plane"}}, // the join by it makes nothing private
		"a copy":                     {[]edit{private("distance: col.#Float64", "true"), {"f.distance / 2 AS half", "f.distance AS half"}, {`& {private: true} & {min: 0, unit: "mi", description: "between the airports"}`, `& {private: true}`}}, []string{"distance", "half"}},
		"computed":                   {[]edit{{`distance: col.#Float64 & {`, `distance: col.#Float64 & {private: true, `}}, []string{"distance", "half"}},
		"computed, and may be shown": {[]edit{{`distance: col.#Float64 & {`, `distance: col.#Float64 & {private: true, `}, {"half: col.#Float64", "half: col.#Float64 & {private: false}"}}, []string{"distance"}},
		"of a lookup":                {[]edit{year}, []string{"year"}},
		"declared in the features":   {[]edit{private("half: col.#Float64", "true")}, []string{"half"}},
		"a condition on it":          {[]edit{{`distance: col.#Float64 & {`, `distance: col.#Float64 & {private: true, `}, {"f.distance / 2 AS half", "CASE WHEN f.distance > 2 THEN 1.0::DOUBLE ELSE 2.0 END AS half"}}, []string{"distance"}},
		"through two queries":        {append([]edit{{`distance: col.#Float64 & {`, `distance: col.#Float64 & {private: true, `}}, onB...), []string{"distance", "half"}},
	} {
		t.Run(name, func(t *testing.T) {
			edits := append([]edit{{`returns: ["id"]`, `returns: ["id"]` + "\n\tlog: {}"}}, c.edits...)
			dir := t.TempDir()
			write(t, filepath.Join(dir, "cue.mod", "module.cue"), []byte(moduleFile))
			write(t, filepath.Join(dir, "shop.cue"), []byte(edited(t, requested, edits)))
			r, _, err := load(dir, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, id := range []string{"deployments/api", "deployments/api/parity"} {
				var params struct {
					Private []string `json:"private"`
				}
				if err := json.Unmarshal(r.System.Unit(id).Params, &params); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(c.want, params.Private); diff != "" {
					t.Errorf("%s: %s", id, diff)
				}
			}
			if keeps := r.System.Unit("deployments/api").Keeps; keeps != "log" {
				t.Errorf("it keeps files because of %q", keeps)
			}
		})
	}
}

// A request log may be stored elsewhere, with its declared size, unless a service keeps something
// else beside it.
func TestWhatAServiceKeepsThatMayBeStoredElsewhere(t *testing.T) {
	for more, want := range map[string]ir.Shipments{
		"":                         nil,
		"log: {}":                  {{Folder: "requests", Most: 1 << 30}},
		"log: keep: \"5MiB\"":      {{Folder: "requests", Most: 5 << 20}},
		"log: {}\n\tparity: 0.5":   nil,
		"audit: {}":                {{Folder: "audit", Most: 1 << 30}},
		"log: {}\n\taudit: {}":     {{Folder: "audit", Most: 1 << 30}, {Folder: "requests", Most: 1 << 30}},
		"audit: {}\n\tparity: 0.5": nil,
		"parity: 0.5":              nil,
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "cue.mod", "module.cue"), []byte(moduleFile))
		write(t, filepath.Join(dir, "shop.cue"), []byte(edited(t, requested, []edit{{`returns: ["id"]`, `returns: ["id"]` + "\n\t" + more}})))
		r, _, err := load(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, r.System.Unit("deployments/api").Ships); diff != "" {
			t.Errorf("%q: %s", more, diff)
		}
	}
}

// A service without log shows nothing, so that it stays the same.
func TestPrivateColumnsDoNotChangeAServiceWithoutLog(t *testing.T) {
	var digests []string
	for _, edits := range [][]edit{nil, {{"year:  col.#Int64", "year:  col.#Int64 & {private: true}"}}} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "cue.mod", "module.cue"), []byte(moduleFile))
		write(t, filepath.Join(dir, "shop.cue"), []byte(edited(t, requested, edits)))
		r, _, err := load(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, r.System.Unit("deployments/api").Digest, r.System.Unit("features/d").Digest)
	}
	if digests[0] != digests[2] || digests[1] != digests[3] {
		t.Errorf("the digests of the service and of the features are %q", digests)
	}
}

// A release shows rows that two versions answer differently, so that the service has to know which
// values it must not show, also without log.
func TestAServiceThatIsReleasedKnowsItsPrivateColumns(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "cue.mod", "module.cue"), []byte(moduleFile))
	write(t, filepath.Join(dir, "shop.cue"), []byte(edited(t, requested, []edit{
		{`returns: ["id"]`, `returns: ["id"]` + "\n\trelease: shadow: 0.1"}, {"year:  col.#Int64", "year:  col.#Int64 & {private: true}"},
	})))
	r, _, err := load(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	var params struct {
		Private []string `json:"private"`
	}
	if err := json.Unmarshal(r.System.Unit("deployments/api").Params, &params); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"year"}, params.Private); diff != "" {
		t.Error(diff)
	}
}
