package cloud

import (
	"slices"
	"strings"
)

// Lacks reports whether a message to a user begins with one of those about a lack of capacity or of a quota, see
// [state.Status.Lacking].
func Lacks(message string, lacking []string) bool {
	return slices.ContainsFunc(lacking, func(m string) bool { return strings.HasPrefix(message, m) })
}
