package worker

import (
	"os"
	"slices"
	"strings"
)

// secrets are variables that only the service itself reads: the keys of its edge, and the passwords
// of its stores, which are numbered. The component serve.http names them.
var secrets = []string{"TLS_CERT", "TLS_KEY", "TLS_CLIENT_CA", "API_KEYS", "JWKS", "STORE"}

// Environ is the environment of a program that the service starts, with more variables. It has no
// secrets of the service: such a program runs code of users and of their libraries.
func Environ(more ...string) []string {
	own := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		if before, number, ok := strings.Cut(name, "_"); ok && strings.Trim(number, "0123456789") == "" {
			name = before
		}
		return slices.Contains(secrets, name)
	})
	return append(own, more...)
}
