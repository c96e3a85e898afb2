package lang

import (
	"strings"

	"github.com/tenon-ml/tenon/internal/lazyregexp"
)

var enumeration = lazyregexp.New(`^=~"\^\(([A-Za-z_|]+)\)\$"$`)

// describe describes a constraint of the library in words.
func describe(c string) string {
	if m := enumeration.FindStringSubmatch(c); m != nil {
		return "one of " + strings.ReplaceAll(m[1], "|", ", ")
	}
	for _, k := range []struct{ part, words string }{
		{`(ms|s|m|h|d)$`, `a duration such as "30s", "5m" or "2h"`},
		{`KiB|MiB`, `a size such as "512MiB" or "8GiB"`},
		{`"^~?/"`, `a path that begins with / or ~/`},
		{`"^~?/[A-Z`, `a path that begins with / or ~/, of letters, digits, "-", "_", "." and "/"`},
		{`([-A-Za-z0-9.:]*`, `a host name or an IP address, without a user and a port`},
		{`|ecdsa|sk)-`, `a public key such as "ssh-ed25519 AAAA..."`},
		{`"^/"`, `an absolute path`},
		{`"^/[^/]"`, `an absolute path`},
		{`|azblob)://`, `a store such as "s3://bucket/prefix", "gs://bucket", "azblob://container" or "file:///path"`},
		{`(:[0-9]+)?(/`, `a registry without a scheme, such as "registry.example/ml"`},
		{`^[a-z0-9]([-a-z0-9`, `a Kubernetes name: lower-case letters, digits and "-"`},
		{`:.]+/[0-9]+$`, `addresses in CIDR, such as "10.0.0.0/8"`},
		{`^[-._a-zA-Z0-9]+$`, `letters, digits, "-", "_" and "."`},
		{`^https?://`, `a URL that begins with https:// or http://`},
		{`[0-9a-f]{64}`, `64 hexadecimal digits, as sha256sum prints them`},
		{`^[a-z][a-z0-9_-]*$`, `lower-case letters, digits, "-" and "_", with a letter first`},
		{`^[A-Za-z_][A-Za-z0-9_]*$`, `the name of an environment variable`},
	} {
		if strings.Contains(c, k.part) {
			return k.words
		}
	}
	for _, k := range []struct{ op, words string }{{">=", "at least "}, {"<=", "at most "}, {">", "more than "}, {"<", "less than "}} {
		if rest, ok := strings.CutPrefix(c, k.op); ok {
			return k.words + rest
		}
	}
	switch c {
	case "int":
		return "a whole number"
	case "number", "float":
		return "a number"
	case "string":
		return "a string"
	case "bool":
		return "true or false"
	}
	return c
}
