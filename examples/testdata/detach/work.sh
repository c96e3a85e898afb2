echo "$1 begins"
sleep "${2:-8}"
echo "$1 ends"
echo "$1" > "${TENON_STEP%/step.json}/out/out"
