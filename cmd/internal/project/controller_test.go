package project

import (
	"strings"
	"testing"
)

// In a cluster, the port alone says where a controller answers Prometheus: pods come and go, and only root may
// listen below 1024.
func TestPortOfMetricsInACluster(t *testing.T) {
	for address, want := range map[string]int{"": 0, ":9464": 9464, "0.0.0.0:1024": 1024, "[::]:65535": 65535} {
		if got, err := metricsPort(address); err != nil || got != want {
			t.Errorf("%q: port %d, %v; want %d", address, got, err, want)
		}
	}
	for _, address := range []string{"9464", ":http", ":80", ":0", ":-1", ":65536", "127.0.0.1:9464", "db1:9464"} {
		if got, err := metricsPort(address); err == nil || !strings.Contains(err.Error(), "such as :9464") {
			t.Errorf("%q: port %d, %v; want an error with an example", address, got, err)
		}
	}
}
