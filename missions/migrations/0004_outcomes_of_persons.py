from django.db import migrations, models

KNOWN = """
UPDATE missions_outcome SET by_person = true
  FROM missions_mission JOIN missions_proposal ON missions_proposal.id = missions_mission.proposal_id
  WHERE missions_mission.id = missions_outcome.mission_id AND missions_proposal.author_id IS NOT NULL
"""


class Migration(migrations.Migration):

    dependencies = [
        ('missions', '0003_mind'),
    ]

    operations = [
        migrations.AddField(
            model_name='outcome',
            name='by_person',
            field=models.BooleanField(db_default=False, default=False, help_text="Asked for by a person in the agent's name, or sold what only persons had bought."),
        ),
        migrations.RunSQL(sql=KNOWN, reverse_sql=migrations.RunSQL.noop),
    ]
