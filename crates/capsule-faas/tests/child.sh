#!/bin/sh
# A child process of the tests. Most roles are played by the test executable itself; see it/child_roles.rs.
for word; do
    case $word in -httpPort=*) export CHILD_PORT="${word#*=}" ;; esac
done
case $ROLE in
    dies)
        echo "before the end"
        printf 'no \033[1mluck\n' >&2
        exit 3
        ;;
    stubborn) trap '' TERM ;;
    parent)
        sleep 1000 &
        echo "grandchild $!"
        ;;
esac
exec "$TEST_PROGRAM" --exact child_roles::plays --nocapture --test-threads=1
