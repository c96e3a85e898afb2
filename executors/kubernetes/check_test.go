package kubernetes

import (
	"slices"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// Each field that a cluster cannot honour is a fault, and no other field.
func TestCheck(t *testing.T) {
	open := Settings{Store: "s3://acme"}
	known := Settings{Store: "s3://acme", StoreNetwork: []string{"10.0.0.0/8"}}
	files := Settings{Store: "file:///mnt/store", StoreVolume: &Volume{Claim: "store", Path: "/mnt"}}
	reads := []ir.Input{{Port: "api", Unit: "deployments/api", Kind: ir.EndpointOf}}
	service := func(host string, scale *ir.Scale, cpu int64) ir.Unit {
		return ir.Unit{Kind: ir.Service, Needs: ir.Resources{MilliCPU: cpu}, Endpoint: &ir.Endpoint{Host: host, Port: 80, Ready: "/", Replicas: 1, Scale: scale}}
	}
	exposed := func(x ir.Exposure) ir.Unit {
		u := service("", nil, 0)
		u.Kubernetes = &ir.Placement{Expose: &x}
		return u
	}
	for name, c := range map[string]struct {
		settings Settings
		unit     ir.Unit
		want     []string // the fields
	}{
		"nothing":                     {open, ir.Unit{}, nil},
		"no network, store somewhere": {open, ir.Unit{Network: ir.NetworkNone}, []string{"network"}},
		"no network, store known":     {known, ir.Unit{Network: ir.NetworkNone}, nil},
		"no network, store of files":  {files, ir.Unit{Network: ir.NetworkNone}, nil},
		"no network, but an endpoint": {known, ir.Unit{Network: ir.NetworkNone, Inputs: reads}, []string{"network"}},
		"the network":                 {open, ir.Unit{Network: ir.NetworkOpen, Inputs: reads}, nil},
		"processes":                   {open, ir.Unit{Needs: ir.Resources{PIDs: 100}}, []string{"needs.pids"}},
		"too little memory":           {open, ir.Unit{Needs: ir.Resources{Memory: leastMemory - 1}}, []string{"needs.memory"}},
		"enough memory":               {open, ir.Unit{Needs: ir.Resources{Memory: leastMemory}}, nil},
		"nodes, disk and devices":     {open, ir.Unit{Needs: ir.Resources{Nodes: 4, Disk: 1, GPU: 1, GPUModel: "NVIDIA H200", GPUMemory: 1}}, nil},
		"a slice":                     {open, ir.Unit{Needs: ir.Resources{GPU: 1, GPUSlice: "1g.10gb"}}, nil},
		"a slice that has no name":    {open, ir.Unit{Needs: ir.Resources{GPU: 1, GPUSlice: "1g/10gb"}}, []string{"needs.gpu.slice"}},
		"a model that is no label":    {open, ir.Unit{Needs: ir.Resources{GPU: 1, GPUModel: "H200+"}}, []string{"needs.gpu.model"}},
		"a service":                   {open, service("127.0.0.1", nil, 0), nil},
		"a service with disk":         {open, func() ir.Unit { u := service("", nil, 0); u.Needs.Disk = 1; return u }(), nil},
		"a service with an address":   {open, service("10.1.2.3", nil, 0), []string{"host"}},
		"a load of nothing":           {open, service("0.0.0.0", &ir.Scale{Max: 2, CPU: 70}, 0), []string{"replicas"}},
		"a load":                      {open, service("0.0.0.0", &ir.Scale{Max: 2, CPU: 70}, 500), nil},
		"requests in flight":          {open, service("", &ir.Scale{Max: 2, CPU: 70, InFlight: 8, Idle: time.Minute}, 0), nil},
		"an hour and more":            {open, service("", &ir.Scale{Max: 2, CPU: 70, Idle: 2 * time.Hour}, 500), []string{"replicas"}},
		"no pods, over TLS": {open, func() ir.Unit {
			u := service("", &ir.Scale{Max: 2, CPU: 70, InFlight: 8, Idle: time.Minute}, 0)
			u.Endpoint.Replicas, u.Endpoint.TLS = 0, true
			return u
		}(), []string{"replicas"}},
		"no pods, of two versions": {open, func() ir.Unit {
			u := service("", &ir.Scale{Max: 2, CPU: 70, InFlight: 8, Idle: time.Minute}, 0)
			u.Endpoint.Replicas, u.Release = 0, &ir.Release{Steps: []int{100}}
			return u
		}(), []string{"replicas"}},
		"files of the machine": {open, ir.Unit{MachineFiles: []string{"tls.cert", "tls.key"}}, []string{"tls.cert", "tls.key"}},
		"management on an address": {open, func() ir.Unit {
			u := service("", nil, 0)
			u.Endpoint.Management = &ir.Listen{Host: "10.1.2.3", Port: 9090}
			return u
		}(), []string{"management.host"}},
		"limits that each of several pods counts": {open, func() ir.Unit {
			u := service("", nil, 0)
			u.Endpoint.Counts, u.Endpoint.Replicas = "limits", 3
			return u
		}(), []string{"limits"}},
		"limits of one pod":                  {open, func() ir.Unit { u := service("", nil, 0); u.Endpoint.Counts = "limits"; return u }(), nil},
		"certificates by ACME":               {open, ir.Unit{Keeps: "tls.acme"}, []string{"tls.acme"}},
		"two environments":                   {open, ir.Unit{Code: ir.Code{Environments: []string{"sha256:x"}}}, nil},
		"a service that keeps files":         {open, ir.Unit{Kind: ir.Service, Keeps: "events"}, []string{"events"}},
		"a check beside a service":           {open, ir.Unit{Kind: ir.Service, Keeps: "parity", Code: ir.Code{DuckDB: "parity"}}, []string{"parity"}},
		"files that are stored":              {open, ir.Unit{Kind: ir.Service, Keeps: "log", Ships: ir.Shipments{{Folder: "requests", Most: 1 << 20}}}, nil},
		"secrets":                            {open, ir.Unit{Secrets: []ir.Secret{{Name: "A.b-c_1", Kubernetes: &ir.SecretKey{Name: "a", Key: "b"}, As: ir.AsFile}}}, nil},
		"a secret that is no key":            {open, ir.Unit{Secrets: []ir.Secret{{Name: "A B"}}}, []string{"secrets.A B"}},
		"a secret that is a folder":          {open, ir.Unit{Secrets: []ir.Secret{{Name: "..", As: ir.AsFile}}}, []string{"secrets..."}},
		"a placement":                        {open, ir.Unit{Kubernetes: &ir.Placement{Labels: map[string]string{"acme.example/team": "ml"}, Tolerations: []ir.Toleration{{}, {Key: "gpu", Value: "yes"}}}}, nil},
		"a label of tenon's":                 {open, ir.Unit{Kubernetes: &ir.Placement{Labels: map[string]string{labelManagedBy: "helm"}}}, []string{"kubernetes.labels"}},
		"an annotation of tenon's":           {open, ir.Unit{Kubernetes: &ir.Placement{Annotations: map[string]string{annotationUnit: "x"}}}, []string{"kubernetes.annotations"}},
		"a selector of no label":             {open, ir.Unit{Kubernetes: &ir.Placement{NodeSelector: map[string]string{"a": "b c"}}}, []string{"kubernetes.node_selector"}},
		"a toleration of no key":             {open, ir.Unit{Kubernetes: &ir.Placement{Tolerations: []ir.Toleration{{Value: "x"}}}}, []string{"kubernetes.tolerations"}},
		"an exposed service":                 {open, exposed(ir.Exposure{Host: "a.example", Path: "/", TLS: "cert"}), nil},
		"an exposed job":                     {open, ir.Unit{Kubernetes: &ir.Placement{Expose: &ir.Exposure{Host: "a.example", Path: "/"}}}, []string{"kubernetes.expose"}},
		"a path that nobody removes":         {open, exposed(ir.Exposure{Host: "a.example", Path: "/late"}), []string{"kubernetes.expose.path"}},
		"a path that a controller removes":   {open, exposed(ir.Exposure{Host: "a.example", Path: "/late", Annotations: map[string]string{"a.example/rewrite": "/"}}), nil},
		"a path that a Gateway removes":      {open, exposed(ir.Exposure{Host: "a.example", Path: "/late", Gateway: "public"}), nil},
		"a certificate of a Gateway":         {open, exposed(ir.Exposure{Host: "a.example", Path: "/", Gateway: "public", TLS: "cert"}), []string{"kubernetes.expose.tls"}},
		"a class of a Gateway":               {open, exposed(ir.Exposure{Host: "a.example", Path: "/", Gateway: "public", Class: "nginx"}), []string{"kubernetes.expose.class"}},
		"an annotation that is none":         {open, exposed(ir.Exposure{Host: "a.example", Path: "/", Annotations: map[string]string{"a b": ""}}), []string{"kubernetes.expose.annotations"}},
		"a label of tenon's for all":         {Settings{Store: "s3://acme", Placement: ir.Placement{Labels: map[string]string{labelTask: "x"}}}, ir.Unit{}, []string{"target labels"}},
		"an invalid network":                 {Settings{Store: "s3://acme", StoreNetwork: []string{"10.0.0.0"}}, ir.Unit{}, []string{"target store_network"}},
		"files without a volume":             {Settings{Store: "file:///mnt"}, ir.Unit{}, []string{"target store"}},
		"files beside the volume":            {Settings{Store: "file:///mnt2/store", StoreVolume: &Volume{Path: "/mnt"}}, ir.Unit{}, []string{"target store"}},
		"files that leave the volume":        {Settings{Store: "file:///mnt/../srv", StoreVolume: &Volume{Path: "/mnt"}}, ir.Unit{}, []string{"target store"}},
		"a volume where pods have their own": {Settings{Store: "file:///tmp/s", StoreVolume: &Volume{Path: "/tmp/s"}}, ir.Unit{}, []string{"target store_volume"}},
		"files that are the volume as whole": {Settings{Store: "file:///mnt", StoreVolume: &Volume{Path: "/mnt/"}}, ir.Unit{}, nil},
	} {
		c.unit.Code = ir.Code{Runtime: ir.Command, Command: []string{"true"}, Environments: c.unit.Code.Environments, DuckDB: c.unit.Code.DuckDB}
		var got []string
		for _, f := range check(c.settings, c.unit) {
			if f.Message == "" || f.Hint == "" {
				t.Errorf("%s: %+v does not say what is wrong, or what to do", name, f)
			}
			got = append(got, field(f))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: faults of %q, want %q", name, got, c.want)
		}
	}
}

func field(f ir.Fault) string {
	if f.Target {
		return "target " + f.Field
	}
	return f.Field
}
