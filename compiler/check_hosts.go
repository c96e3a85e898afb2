package compiler

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/cuecontext"
)

// hosts adds to the hosts of a target those whose addresses an output has. Their host is what all of them have in common.
func (f *filler) hosts(settings, host, names map[string]any) {
	const has = "addresses and public keys of hosts are no secrets"
	name, _ := names["hosts"].(string)
	addresses, ok := f.value([]string{"hosts"}, name, has)
	if !ok {
		return
	}
	list, ok := addresses.([]any)
	if !ok || slices.ContainsFunc(list, func(x any) bool { _, is := x.(string); return !is }) {
		f.refuse([]string{"hosts"}, fmt.Sprintf("the output %s of %s is not a list of addresses", name, f.state), "write it as a list, such as `value = aws_instance.ml[*].private_ip`")
		return
	}
	var keys map[string]any
	keysName, keyed := names["host_keys"].(string)
	if keyed {
		value, ok := f.value([]string{"host_keys"}, keysName, has)
		if !ok {
			return
		}
		if keys, ok = value.(map[string]any); !ok {
			f.refuse([]string{"host_keys"}, fmt.Sprintf("the output %s of %s is not a map of public keys", keysName, f.state), "write it as a map from addresses to public keys")
			return
		}
	}
	all, _ := settings["hosts"].([]any)
	for _, address := range list {
		made := maps.Clone(host)
		made["address"] = address
		if keyed {
			at, _ := address.(string)
			key, ok := keys[at]
			if !ok {
				f.refuse([]string{"host_keys"}, fmt.Sprintf("the output %s of %s has no key of the host %q", keysName, f.state, at), "add it there")
				return
			}
			made["host_key"] = key
		}
		full, output, err := f.host(made)
		if err != nil {
			why := firstOf(err)
			if output == "host_keys" { // it may be a private one
				why = "it is not a public key of a host"
			}
			f.refuse([]string{output}, fmt.Sprintf("the output %s of %s does not fit the hosts of targets.%s: %s", names[output], f.state, f.target, why), "name another output, or change its value there")
			return
		}
		all = append(all, full)
	}
	settings["hosts"] = all
}

// hostType is where the library has the type of a host that an output names.
var hostType = cue.MakePath(cue.Str("terraform"), cue.Hid("_made", "tenon.dev/tenon@v0"))

// host compares a host with the type that the library gives it, and returns it with defaults. After an error, output is
// what of terraform.outputs is wrong.
func (f *filler) host(value map[string]any) (full map[string]any, output string, err error) {
	given, err := json.Marshal(value)
	if err != nil {
		return nil, "hosts", err
	}
	target := f.sys.Lookup("targets", f.target)
	v := target.FillPath(hostType, cuecontext.New().CompileBytes(given)).LookupPath(hostType)
	if err := v.LookupPath(cue.ParsePath("address")).Validate(cue.Concrete(true)); err != nil {
		return nil, "hosts", err
	}
	if value["host_key"] != nil {
		if err := v.LookupPath(cue.ParsePath("host_key")).Validate(cue.Concrete(true)); err != nil {
			return nil, "host_keys", err
		}
	}
	text, err := v.MarshalJSON()
	if err != nil {
		return nil, "hosts", err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	err = d.Decode(&full)
	return full, "hosts", err
}
