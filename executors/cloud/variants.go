package cloud

import "github.com/tenon-ml/tenon/executors"

// Names of the variants of a task at an endpoint whose versions are apart: of the one that answers alone, and is the champion
// of a release, and of the challenger.
const (
	MainVariant = "main"
	NextVariant = "next"
)

// A Variant is a version that answers at an endpoint.
type Variant struct {
	Name  string
	Share int // percent of the requests
	Task  executors.Task
}

// VariantsOf returns the variants of a task: the champion and the challenger, or one.
func VariantsOf(t executors.Task) []Variant {
	alone := t
	alone.Beside, alone.Route = nil, nil
	for _, champion := range t.Beside {
		v := []Variant{{MainVariant, 100, champion}, {NextVariant, 0, alone}}
		for _, r := range t.Route.Versions {
			for i := range v {
				if v[i].Task.Version == r.Name {
					v[i].Share = r.Weight
				}
			}
		}
		return v
	}
	return []Variant{{MainVariant, 100, alone}}
}
