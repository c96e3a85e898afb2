package cloud

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// Label returns a name of a unit that has no slash: it names resources in Terraform, and a
// folder. Labels of two units differ, and a unit has the same one in every system.
func Label(id string) string {
	plain := true
	mapped := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_':
			return r
		case r == '/':
			return '-'
		}
		plain = false
		if r >= 'A' && r <= 'Z' || r == '-' {
			return r
		}
		return '_'
	}, id)
	if plain {
		return mapped
	}
	return mapped + "-" + Short(id)
}

// Fit returns a name of at most max characters. One that is shortened ends with a part of its digest.
func Fit(name string, most int) string {
	if len(name) <= most {
		return name
	}
	return name[:most-9] + "-" + Short(name)
}

// Hyphened returns a name in lower case without underscores, for resources that do not allow
// them. One that is changed ends with a part of its digest.
func Hyphened(name string, most int) string {
	changed := strings.ToLower(strings.ReplaceAll(name, "_", "-"))
	if changed != name {
		changed += "-" + Short(name)
	}
	return Fit(changed, most)
}

// Short returns the first 8 hexadecimal digits of a digest.
func Short(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:4])
}
