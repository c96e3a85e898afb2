package kubernetes_test

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tenon-ml/tenon/executors/executortest/program"
	"github.com/tenon-ml/tenon/executors/kubernetes"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

var (
	volumes = corev1.SchemeGroupVersion.WithResource("persistentvolumes")
	claims  = corev1.SchemeGroupVersion.WithResource("persistentvolumeclaims")
)

// volume creates a volume of a folder that pods find at the same path as this machine,
// and a claim to it. It returns the option that makes it the store.
func (p *place) volume(t testing.TB, name, dir string, source corev1.PersistentVolumeSource) func(*kubernetes.Options) {
	t.Helper()
	none, size := "", corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	many := []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
	claim := p.put(t, claims, p.namespace, &corev1.PersistentVolumeClaim{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"}, ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: &none, AccessModes: many, Resources: corev1.VolumeResourceRequirements{Requests: size}},
	})
	// A volume that names its claim is bound at once. Otherwise the cluster may take
	// long to match the claim to it.
	p.put(t, volumes, "", &corev1.PersistentVolume{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolume"}, ObjectMeta: metav1.ObjectMeta{Name: p.namespace + "-" + name},
		Spec: corev1.PersistentVolumeSpec{
			Capacity: size, AccessModes: many, PersistentVolumeSource: source, PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			ClaimRef: &corev1.ObjectReference{Namespace: p.namespace, Name: name, UID: claim.GetUID()},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpExists}},
			}}}},
		},
	})
	return func(o *kubernetes.Options) {
		o.Store, o.StoreSecret, o.StoreNetwork = "file://"+dir+"/tenon", "", nil
		o.StoreVolume = &kubernetes.Volume{Claim: name, Path: dir}
	}
}

// A job reads what another one wrote through a folder that pods and this machine share.
// They are different users, and the umask of this one excludes others.
func TestAVolumeIsTheStore(t *testing.T) {
	p := newPlace(t)
	was := unix.Umask(0o077)
	t.Cleanup(func() { unix.Umask(was) })
	for name, c := range map[string]struct {
		local bool // a volume that the cluster gives to the group of pods
		ready func(dir string) error
		want  string // why it fails
	}{
		"given": {true, func(string) error { return nil }, ""},
		"groups": {false, func(dir string) error {
			return errors.Join(os.Chown(dir, -1, 65532), os.Chmod(dir, 0o770|os.ModeSetgid))
		}, ""},
		"open":   {false, func(dir string) error { return os.Chmod(dir, 0o777) }, ""},
		"closed": {false, func(string) error { return nil }, "`chgrp -R 65532 FOLDER && chmod -R g+rwXs FOLDER`"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, err := os.MkdirTemp("/var/tmp", "tenon-test-") // pods have a /tmp of their own
			ok(t, err)
			t.Cleanup(func() { ok(t, files.RemoveAll(dir)) })
			ok(t, c.ready(dir))
			source := corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: dir}}
			if c.local {
				source = corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: dir}}
			}
			e := p.executor(t, p.volume(t, name, dir, source))
			first := job(t, name+"-first", "work")
			st, err := e.Wait(t.Context(), apply(t, e, first))
			ok(t, err)
			if c.want != "" {
				if st.Phase != state.Failed || !strings.Contains(st.Message, c.want) || strings.Contains(st.Message, "\n") {
					t.Errorf("status %+v, want %q", st, c.want)
				}
				return
			}
			if st.Phase != state.Succeeded {
				t.Fatalf("status %+v", st)
			}
			made := filepath.Join(first.Dir, "out", "out")
			digest, err := artifact.Digest(t.Context(), made) // the pod has put it into the store
			ok(t, err)
			second, data := job(t, name+"-second", "report"), filepath.Join(t.TempDir(), "data")
			ok(t, os.WriteFile(data, []byte("rows"), 0o600))
			second.Inputs = map[string]step.Port{"in": {Kind: "file", Path: made, Digest: digest}}
			second.Files = map[string][]string{"data": {data}}
			if st, err = e.Wait(t.Context(), apply(t, e, second)); err != nil || st.Phase != state.Succeeded {
				t.Fatalf("status %+v, %v", st, err)
			}
			b, err := os.ReadFile(filepath.Join(second.Dir, "out", "out", "found.json"))
			ok(t, err)
			var found program.Found
			ok(t, json.Unmarshal(b, &found))
			if content := slices.Collect(maps.Values(found.Content)); !slices.Equal(content, []string{"rows"}) {
				t.Errorf("it read %q", content)
			}
		})
	}
}
