package kubernetestest

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Node runs the cluster of a folder. It is the first process of namespaces of its
// own, made by [start]: of processes, mounts and the network. So all that it starts
// ends with it, and what that mounts, routes and filters goes, too. It returns when
// a part of the cluster ends, which none should.
func Node(dir string) error {
	unix.CloseOnExec(aliveFD)
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return fmt.Errorf("wait for the network: %w", err)
	}
	r, err := read(dir)
	if err != nil {
		return err
	}
	n := node{instance: r, running: map[int]string{}}
	if err := n.mount(); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"link", "set", "lo", "up"},
		{"addr", "add", r.NodeIP + "/30", "dev", inner},
		{"link", "set", inner, "up"},
		{"route", "add", "default", "via", r.HostIP},
		{"route", "add", "unreachable", r.Net.all()}, // but for the pods that there are: a request that comes too early gets an error
	} {
		if _, err := output("", "ip", args...); err != nil {
			return err
		}
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		return err
	}
	if err := n.serve(); err != nil {
		return err
	}
	// The node inherits what those leave that have ended: it waits for any process.
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if name, ok := n.running[pid]; ok {
			return fmt.Errorf("%s ended with status %d", name, status.ExitStatus())
		}
	}
}

// aliveFD is the file whose lock says that a node runs.
const aliveFD = 3

type node struct {
	instance
	running map[int]string
}

// mount hides those folders of the machine that Kubernetes writes to under paths of
// its own.
func (n *node) mount() error {
	lib := n.path("lib")
	if err := os.Mkdir(lib, 0o755); err != nil {
		return err
	}
	for _, m := range []struct {
		source, target, kind string
		flags                uintptr
	}{
		{"", "/", "", unix.MS_REC | unix.MS_SLAVE}, // what the machine unmounts goes here, too
		{"", "/", "", unix.MS_REC | unix.MS_SHARED},
		{"proc", "/proc", "proc", 0},
		{"tmpfs", "/run", "tmpfs", 0},
		{"tmpfs", "/var/log", "tmpfs", 0},
		{lib, "/var/lib", "", unix.MS_BIND},
	} {
		if err := unix.Mount(m.source, m.target, m.kind, m.flags, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	// The kubelet sets these for the whole machine.
	for _, name := range []string{"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes"} {
		at, own := "/proc/sys/"+name, filepath.Join("/run", strings.ReplaceAll(name, "/", "."))
		b, err := os.ReadFile(at)
		if err != nil {
			return err
		}
		if err := os.WriteFile(own, b, 0o644); err != nil {
			return err
		}
		if err := unix.Mount(own, at, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s: %w", at, err)
		}
	}
	return nil
}

func (n *node) serve() error {
	server, err := n.S3.Command()
	if err != nil {
		return err
	}
	registry := exec.Command("docker-registry", "serve", n.path("registry.yml"))
	registry.Env = []string{"OTEL_TRACES_EXPORTER=none"}
	const etcd = "http://127.0.0.1:2379"
	kubeconfig, key := "--kubeconfig="+n.Kubeconfig, n.path("pki/accounts.key")
	for _, cmd := range []*exec.Cmd{
		server, registry,
		exec.Command("containerd", "--config", n.path("containerd.toml")),
		n.kube("etcd", "--data-dir="+n.path("etcd"), "--unsafe-no-fsync", "--log-level=warn",
			"--listen-client-urls="+etcd, "--advertise-client-urls="+etcd),
		n.kube("kube-apiserver", "--etcd-servers="+etcd, "--cert-dir="+n.path("pki"), "--advertise-address="+n.NodeIP,
			"--service-cluster-ip-range="+n.Net.services(), "--authorization-mode=RBAC", "--token-auth-file="+n.path("pki/tokens.csv"),
			"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+key, "--service-account-signing-key-file="+key,
			"--kubelet-preferred-address-types=InternalIP",
			"--enable-aggregator-routing"), // to metrics-server itself: nothing on the node reaches addresses of Services
	} {
		if err := n.start(cmd); err != nil {
			return err
		}
	}
	if err := n.ready(); err != nil {
		return err
	}
	for _, cmd := range []*exec.Cmd{
		exec.Command(n.path("names"), "-conf", n.path("Corefile")),
		n.kube("kube-controller-manager", kubeconfig, "--leader-elect=false", "--bind-address=127.0.0.1", "--node-monitor-period=1s",
			"--horizontal-pod-autoscaler-sync-period=1s", "--horizontal-pod-autoscaler-cpu-initialization-period=1s",
			"--service-account-private-key-file="+key, "--root-ca-file="+n.path("pki/apiserver.crt")),
		// Pods are measured every ten seconds at best, so autoscalers look soon, and at young pods, too.
		n.kube("metrics-server", kubeconfig, "--authentication-kubeconfig="+n.Kubeconfig, "--authorization-kubeconfig="+n.Kubeconfig,
			"--authentication-skip-lookup", "--kubelet-insecure-tls", "--kubelet-preferred-address-types=InternalIP", "--metric-resolution=10s", "--kubelet-request-timeout=8s",
			"--bind-address="+n.NodeIP, "--secure-port="+metricsPort, "--cert-dir="+n.path("pki/metrics")),
		n.kube("kube-scheduler", kubeconfig, "--leader-elect=false", "--bind-address=127.0.0.1"),
		n.kube("kubelet", kubeconfig, "--config="+n.path("kubelet.yaml"), "--root-dir="+n.path("kubelet"),
			"--cert-dir="+n.path("pki/kubelet"), "--hostname-override="+nodeName, "--node-ip="+n.NodeIP),
		// Limits of connections are the machine's: 0 leaves them as they are.
		n.kube("kube-proxy", kubeconfig, "--proxy-mode=iptables", "--cluster-cidr="+n.Net.pods(), "--hostname-override="+nodeName,
			"--bind-address=127.0.0.1", "--oom-score-adj=0",
			"--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0"),
	} {
		if err := n.start(cmd); err != nil {
			return err
		}
	}
	return nil
}

func (n *node) kube(args ...string) *exec.Cmd { return exec.Command(n.path("kubeall"), args...) }

// start starts a part of the cluster, which writes its log to a file of its name.
func (n *node) start(cmd *exec.Cmd) error {
	name := filepath.Base(cmd.Path)
	if name == "kubeall" {
		name = cmd.Args[1]
	}
	log, err := os.Create(n.path("log/" + name))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	n.running[cmd.Process.Pid] = name
	return nil
}

// ready waits for the API server, without which the others give up. A part that has
// ended meanwhile is found by who waits for them all.
func (n *node) ready() error {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		var resp *http.Response
		if resp, err = client.Get("https://127.0.0.1:6443/readyz"); err != nil {
			continue
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return nil
		}
		err = errors.New(resp.Status)
	}
	return fmt.Errorf("kube-apiserver does not answer: %w", err)
}
