package project

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/tenon-ml/tenon/executors/image"
	"github.com/tenon-ml/tenon/internal/bundle"
)

// Where an image has a bundle, and who runs it.
const (
	bundleDir  = "/bundle"
	imageUser  = "65532:65532" // of nobody in particular, as in images of others without a shell
	imagePort  = "8080"
	imageProbe = "probe"
)

// image writes a bundle as an image, and pushes it if asked.
func (x *exporting) image(ctx context.Context, dir, to string, e *ExportedService) error {
	goos, goarch, _ := strings.Cut(e.Platform, "/")
	program := bundleDir + "/" + bundle.Program
	img, err := image.Pack(ctx, image.Contents{
		Dir: dir, At: bundleDir, First: []string{bundle.Program}, Work: filepath.Join(filepath.Dir(to), "layers"),
		OS: goos, Arch: goarch, User: imageUser, Port: imagePort,
		Entrypoint: []string{program}, Command: []string{"serve"}, Healthcheck: []string{program, imageProbe},
		Env: []string{"TENON_HOST=0.0.0.0", "TENON_PORT=" + imagePort},
	})
	if err != nil {
		return err
	}
	h, err := img.Digest()
	if err != nil {
		return err
	}
	e.Digest = h.String()
	if err := image.WriteArchive(img, to, "localhost/"+strings.ToLower(x.snapshot.system)+"/"+strings.ToLower(strings.TrimPrefix(x.unit.Entity, "deployments/"))); err != nil {
		return err
	}
	if x.Push != "" {
		e.Pushed, err = x.images("").Push(ctx, img, x.Push)
	}
	return err
}
