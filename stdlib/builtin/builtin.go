package builtin

import "slices"

// A Component is one that is built in.
type Component struct {
	Name string
	// Version is raised when the same parameters and inputs come to mean
	// another result, so that what was made before is made again.
	Version int
}

// Components are all of them. Package components has the code of each.
func Components() []Component {
	return []Component{
		{"source.csv", 1},
		{"source.parquet", 1},
		{"source.json", 1},
		{"source.http", 1},
		{"feature.sql", 1},
		{"split.random", 1},
		{"split.by_time", 1},
		{"split.by_group", 1},
		{"evaluate.gate", 1},
	}
}

// Version returns the version of a component's meaning, 0 for one unknown.
func Version(name string) int {
	for _, c := range Components() {
		if c.Name == name {
			return c.Version
		}
	}
	return 0
}

// Order is the order of the rows of a feature: the columns to sort them by.
func Order(keys []string, timestamp string) []string {
	order := slices.Clone(keys)
	if timestamp != "" && !slices.Contains(order, timestamp) {
		order = append(order, timestamp)
	}
	return order
}
