package lang

import "strconv"

// nestedPorts are the inputs of entities that are deeper in their fields, by section, as paths in
// which * is any item of a list.
var nestedPorts = map[string][][]string{
	"loops": {{"when", "*", "monitor"}, {"when", "*", "data"}, {"release", "judge", "*"}, {"rollback", "on", "*"}},
}

// NestedPort returns how much of a path within an entity is that of an input that is deeper in
// the fields of its section, or 0.
func NestedPort(section string, path []string) int {
	for _, pattern := range nestedPorts[section] {
		matches := len(path) >= len(pattern)
		for i := 0; matches && i < len(pattern); i++ {
			matches = pattern[i] == path[i]
			if pattern[i] == "*" {
				_, err := strconv.Atoi(path[i])
				matches = err == nil
			}
		}
		if matches {
			return len(pattern)
		}
	}
	return 0
}
