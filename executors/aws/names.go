package aws

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// label returns a name of a unit that has no slash: it names resources in Terraform, and a
// folder. Labels of two units differ, and a unit has the same one in every system.
func label(id string) string {
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
	return mapped + "-" + short(id)
}

// fit returns a name of at most max characters. One that is shortened ends with a part of its digest.
func fit(name string, most int) string {
	if len(name) <= most {
		return name
	}
	return name[:most-9] + "-" + short(name)
}

// hyphened returns a name in lower case without underscores, for resources that do not allow
// them. One that is changed ends with a part of its digest.
func hyphened(name string, most int) string {
	changed := strings.ToLower(strings.ReplaceAll(name, "_", "-"))
	if changed != name {
		changed += "-" + short(name)
	}
	return fit(changed, most)
}

// short returns the first 8 hexadecimal digits of a digest.
func short(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:4])
}

// Longest names that AWS allows.
const (
	mostRole      = 64
	mostJob       = 128
	mostSageMaker = 63 - 9 // with a digest of what it has
	mostFunction  = 64
	mostBucket    = 63 - 1 - 12 - 1 - 14 // with account and region
	mostQueue     = 128
	mostAlarm     = 255
)
